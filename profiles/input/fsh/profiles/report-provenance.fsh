Profile: ReportProvenance
Parent: Provenance
Id: report-provenance
Title: "Provenance of a report revision"
Description: "Who made this revision of what from which photographs."
* target 1..
* target only Reference(DiagnosticReport or Observation or Media)
* reason 1..1
* reason = $v3-value#AIAST "Artificial Intelligence asserted"
* agent 1..
* agent.type 1..1
* agent.type from AgentRole (required)
* agent.who only Reference(AnalysisDevice)
* entity.role = #source
* entity.what only Reference(Media)

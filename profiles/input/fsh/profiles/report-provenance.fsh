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
* agent ^slicing.discriminator.type = #value
* agent ^slicing.discriminator.path = "type"
* agent ^slicing.rules = #closed
* agent contains author 0..* and assembler 1..1
* agent[author].type = $participant#author "Author"
* agent[assembler].type = $participant#assembler "Assembler"
* agent.who only Reference(AnalysisDevice)
* entity.role = #source
* entity.what only Reference(Media)

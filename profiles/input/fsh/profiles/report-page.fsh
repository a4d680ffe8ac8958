Profile: ReportPage
Parent: Binary
Id: report-page
Title: "Page of a report"
Description: "The PDF of a report revision, or a photograph with its boxes drawn. Its bytes never change; once no revision of the report has it any more, it says so in plain text instead."
* data 1..1
* securityContext only Reference(DiagnosticReport or Media)

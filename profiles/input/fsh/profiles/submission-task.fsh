Profile: SubmissionTask
Parent: Task
Id: submission-task
Title: "Task of a submission"
Description: "How far a submission is, why it waits and what came of it."
* intent = #order
* statusReason from TaskCode (extensible)
* businessStatus 1..1
* businessStatus from TaskCode (required)
* focus 1..1
* focus only Reference(Media or ImagingStudy)
* for 1..1
* authoredOn 1..1
* lastModified 1..1
* input 1..
* input.value[x] only Reference(Media or ImagingStudy)
* output.value[x] only Reference(DiagnosticReport or OperationOutcome)

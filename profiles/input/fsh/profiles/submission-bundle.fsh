Profile: SubmissionBundle
Parent: Bundle
Id: submission-bundle
Title: "Submission"
Description: "What a client may POST to the base: photographs with what they refer to. In a batch each entry has its own fate."
* implicitRules 0..0
* obeys transaction-or-batch and posts-and-puts
* entry 0..1000
* entry.modifierExtension 0..0
* entry.resource 1..1
* entry.resource only Media or Patient or Device or ServiceRequest or ImagingStudy or Encounter or Practitioner or PractitionerRole or Organization or Endpoint
* entry.search 0..0
* entry.request 1..1
* entry.request.ifNoneMatch 0..0
* entry.request.ifModifiedSince 0..0
* entry.response 0..0

Profile: SubmissionBundle
Parent: Bundle
Id: submission-bundle
Title: "Submission"
Description: "What a client may POST to the base: photographs with what they refer to."
* obeys transaction-or-batch and posts-and-puts
* entry.resource 1..1
* entry.request 1..1
* entry.search 0..0
* entry.response 0..0

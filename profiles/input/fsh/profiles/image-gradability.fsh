Profile: ImageGradability
Parent: Observation
Id: image-gradability
Title: "Gradability of the image"
Description: "Whether an image is a fundus photograph and can be graded."
* insert ImageFinding
* extension contains ImageFrame named frame 0..1
* obeys gradability-or-reason and no-fundus-no-grade
* code = $local#image-gradability
* value[x] only CodeableConcept
* valueCodeableConcept from Gradability (required)
* insert OwnCoding(dataAbsentReason, WhyNoValue)
* component 1..1
* component.code = $local#is-fundus-image
* component.value[x] 1..1
* component.value[x] only boolean

Profile: ReferableDr
Parent: Observation
Id: referable-dr
Title: "Referable diabetic retinopathy"
Description: "Whether the analyser calls the retinopathy in one image referable."
* insert Judgement
* code = $local#referable-dr
* valueCodeableConcept from YesNo (required)

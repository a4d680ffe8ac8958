Profile: DrPresence
Parent: Observation
Id: dr-presence
Title: "Presence of diabetic retinopathy"
Description: "What the analyser says about retinopathy in one image."
* insert Judgement
* code = $local#dr-presence
* valueCodeableConcept from RetinopathyPresence (required)

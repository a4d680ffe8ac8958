Profile: LesionRegions
Parent: Observation
Id: lesion-regions
Title: "Lesion regions"
Description: "The lesions that the analyser marked in one image, one component a box."
* insert ImageFinding
* obeys boxes-one-image
* code = $local#lesion-regions
* value[x] 0..0
* dataAbsentReason 0..0
* component 1..
* component.extension contains LesionBoundingBox named box 1..1
* insert OwnCoding(component.code, LesionType)
* component.value[x] 1..1
* component.value[x] only CodeableConcept
* component.valueCodeableConcept = $sct#260373001

Instance: netra-dr-to-snomed
InstanceOf: ConceptMap
Usage: #definition
Title: "From Netra.AI's words to SNOMED CT"
Description: "Only codes that were verified; a lesion that is not here has none."
* url = "https://fundus-relay.dev/fhir/ConceptMap/netra-dr-to-snomed"
* name = "NetraDrToSnomed"
* status = #active
* group.source = $local
* group.target = $sct
* group.element[+].code = #image-gradability
* group.element[=].target.code = #133887000
* group.element[=].target.display = "Computer assisted image analysis for image quality"
* group.element[=].target.equivalence = #relatedto
* group.element[+].code = #dr-presence
* group.element[=].target.code = #4855003
* group.element[=].target.display = "Retinopathy due to diabetes mellitus"
* group.element[=].target.equivalence = #equivalent
* group.element[+].code = #dr-detected
* group.element[=].target.code = #260373001
* group.element[=].target.display = "Detected"
* group.element[=].target.equivalence = #wider
* group.element[+].code = #dr-not-detected
* group.element[=].target.code = #260415000
* group.element[=].target.display = "Not detected"
* group.element[=].target.equivalence = #wider
* group.element[+].code = #deep-hemorrhage
* group.element[=].target.code = #28998008
* group.element[=].target.display = "Retinal hemorrhage"
* group.element[=].target.equivalence = #wider
* group.element[+].code = #hemorrhage
* group.element[=].target.code = #28998008
* group.element[=].target.display = "Retinal hemorrhage"
* group.element[=].target.equivalence = #equivalent
* group.element[+].code = #neovascularization
* group.element[=].target.code = #61267008
* group.element[=].target.display = "Retinal neovascularization"
* group.element[=].target.equivalence = #equivalent
* group.element[+].code = #vitreous-hemorrhage
* group.element[=].target.code = #31341008
* group.element[=].target.display = "Vitreous hemorrhage"
* group.element[=].target.equivalence = #equivalent
* group.element[+].code = #drusen
* group.element[=].target.code = #247153005
* group.element[=].target.display = "Retinal drusen"
* group.element[=].target.equivalence = #equivalent

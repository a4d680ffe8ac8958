Invariant: ungradable-says-nothing
Description: "Of an image that is ungradable or no fundus photograph nothing else has a value."
Severity: #error
Expression: "entry.resource.ofType(Observation).where(value.ofType(CodeableConcept).coding.where(code = 'ungradable').exists() or component.where(code.coding.where(code = 'is-fundus-image').exists() and value = false).exists()).derivedFrom.reference.intersect(entry.resource.ofType(Observation).where(status != 'entered-in-error' and code.coding.where(code = 'dr-presence' or code = 'referable-dr' or code = 'lesion-regions').exists() and (value.exists() or component.exists())).derivedFrom.reference).empty()"

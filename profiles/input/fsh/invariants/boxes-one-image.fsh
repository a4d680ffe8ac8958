Invariant: boxes-one-image
Description: "All boxes are of one image, the one that the Observation is derived from."
Severity: #error
Expression: "component.extension.where(url = 'https://fundus-relay.dev/fhir/StructureDefinition/lesion-bounding-box').extension.where(url = 'image').value.reference.distinct() = derivedFrom.reference"

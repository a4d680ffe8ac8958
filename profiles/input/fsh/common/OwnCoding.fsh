// Binds our own coding and not the whole concept: HAPI FHIR 8.8.0 wants every coding of a bound concept in the value
// set, and the standard coding that stands beside ours is not.
RuleSet: OwnCoding(path, values)
* {path}.coding ^slicing.discriminator.type = #value
* {path}.coding ^slicing.discriminator.path = "system"
* {path}.coding ^slicing.rules = #open
* {path}.coding contains own 1..1
* {path}.coding[own] from {values} (required)
* {path}.coding[own].system 1..1
* {path}.coding[own].system = "https://fundus-relay.dev/fhir/CodeSystem/netra-dr"

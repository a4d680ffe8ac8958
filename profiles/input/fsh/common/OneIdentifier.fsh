RuleSet: OneIdentifier(kind)
* identifier 1..1
* identifier.system 1..1
* identifier.system = "https://fundus-relay.dev/fhir/sid/{kind}" (exactly)
* identifier.value 1..1

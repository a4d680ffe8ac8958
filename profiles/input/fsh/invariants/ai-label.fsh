Invariant: ai-label
Description: "The label says that a machine made it (AIAST)."
Severity: #error
Expression: "meta.security.where(system = 'http://terminology.hl7.org/CodeSystem/v3-ObservationValue' and code = 'AIAST').exists()"

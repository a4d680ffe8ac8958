Invariant: not-drawn
Description: "What is sent is a photograph, and no picture that a report's boxes were drawn on."
Severity: #error
Expression: "identifier.where(system = 'https://fundus-relay.dev/fhir/sid/overlay').empty()"

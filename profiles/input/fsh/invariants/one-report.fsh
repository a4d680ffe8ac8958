Invariant: one-report
Description: "A delivery holds one DiagnosticReport and one Provenance."
Severity: #error
Expression: "entry.resource.ofType(DiagnosticReport).count() = 1 and entry.resource.ofType(Provenance).count() = 1"

Invariant: patient-named
Description: "The patient has a reference or an identifier, and is not contained."
Severity: #error
Expression: "(reference.exists() or identifier.value.exists()) and reference.where($this.startsWith('#')).empty()"

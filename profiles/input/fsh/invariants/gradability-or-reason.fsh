Invariant: gradability-or-reason
Description: "A fundus photograph is gradable or not; what is none has a reason instead."
Severity: #error
Expression: "value.exists() xor dataAbsentReason.exists()"

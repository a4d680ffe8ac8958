Invariant: value-or-reason
Description: "There is either a value with its flag or the reason why there is none."
Severity: #error
Expression: "value.exists() xor dataAbsentReason.exists()"

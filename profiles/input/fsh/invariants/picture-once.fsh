Invariant: picture-once
Description: "The photograph is in data or at url, not both."
Severity: #error
Expression: "data.exists() xor url.exists()"

Invariant: no-value-when-ungradable
Description: "What could not be graded, was no fundus photograph or was not understood has no value and no flag."
Severity: #error
Expression: "dataAbsentReason.exists() implies (value.exists() or interpretation.exists()).not()"

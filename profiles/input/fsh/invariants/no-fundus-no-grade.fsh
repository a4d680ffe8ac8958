Invariant: no-fundus-no-grade
Description: "What is no fundus photograph is neither gradable nor ungradable, but has a reason."
Severity: #error
Expression: "component.where(value = false).exists() implies (value.empty() and dataAbsentReason.exists())"

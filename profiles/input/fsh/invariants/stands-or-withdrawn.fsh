Invariant: stands-or-withdrawn
Description: "The photograph is finished, or it is taken back with its report."
Severity: #error
Expression: "status = 'completed' or status = 'entered-in-error'"

Invariant: signed-report
Description: "Preliminary or partial until a person signs: another status needs an interpreter."
Severity: #error
Expression: "status = 'partial' or status = 'preliminary' or status = 'entered-in-error' or resultsInterpreter.exists()"

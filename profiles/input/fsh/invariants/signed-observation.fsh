Invariant: signed-observation
Description: "Preliminary until a person signs: another status needs a performer who can be named."
Severity: #error
Expression: "status = 'preliminary' or status = 'entered-in-error' or performer.reference.exists() or performer.identifier.exists()"

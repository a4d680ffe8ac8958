Invariant: conditional-create
Description: "What is created is created once: every POST is conditional."
Severity: #error
Expression: "entry.where(request.method = 'POST').all(request.ifNoneExist.exists())"

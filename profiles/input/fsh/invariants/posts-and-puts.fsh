Invariant: posts-and-puts
Description: "Only POST and PUT are taken."
Severity: #error
Expression: "entry.request.all(method = 'POST' or method = 'PUT')"

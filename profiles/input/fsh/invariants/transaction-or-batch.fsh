Invariant: transaction-or-batch
Description: "Send a transaction or a batch."
Severity: #error
Expression: "type = 'transaction' or type = 'batch'"

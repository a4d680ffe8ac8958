Invariant: shown-or-withdrawn
Description: "The picture is there or can be fetched, unless it is taken back."
Severity: #error
Expression: "content.data.exists() or content.url.exists() or status = 'entered-in-error'"

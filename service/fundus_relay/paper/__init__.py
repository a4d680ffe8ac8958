"""Pages for people: a report revision as a PDF. Sets what it is given and judges nothing; no I/O."""

"""HTTP in: the FHIR endpoint and who may call it, the guide for people, and the probes."""

"""The ledger on PostgreSQL: our states, the FHIR resources, and the embedded server of a laptop."""

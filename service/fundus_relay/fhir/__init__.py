"""FHIR R4: what is read from a sender and what is written for an EHR. No I/O."""

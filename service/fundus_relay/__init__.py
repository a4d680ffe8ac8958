"""Fundus Relay: colour fundus photographs from an EHR to Netra.AI, and FHIR reports with lesion boxes back."""

__version__ = "0.1.0"

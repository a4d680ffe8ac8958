"""EHRs that get the reports."""

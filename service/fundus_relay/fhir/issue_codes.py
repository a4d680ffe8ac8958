"""What an OperationOutcome may say of one element, beside the codes of our errors; the README lists both."""

from __future__ import annotations

from fundus_relay import guide

MEANING = {code: each["definition"] for code, each in guide.terms("relay-outcome", "element").items()}
"""Code → what is wrong; stable."""

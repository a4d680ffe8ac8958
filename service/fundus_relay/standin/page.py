"""What a person sees who opens the stand-in's address."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_HEAD = """<!doctype html><meta charset=utf-8><title>Stand-in</title>
<style>body{font:16px system-ui;margin:2rem auto;max-width:50rem;padding:0 1rem}
p.warning{background:#fff3cd;padding:.6rem 1rem;border-left:.4rem solid #e69f00}
th{text-align:left;padding-right:2rem}</style>
<h1>Stand-in for the Netra.AI API</h1>
<p class=warning><strong>No medical device.</strong> This imitates the analyser for demonstration and tests, and was
never compared with it. Nothing that it says may be used for care.</p>
"""

_FOOT = """
<p>Its network was trained on the Indian Diabetic Retinopathy Image Dataset (Porwal P. et al., 2018, CC BY 4.0; masks
rescaled); the counts of its rule come from the Retinal Fundus Image Dataset for Diabetic Retinopathy Detection
(SRahimDR/DR-image-dataset, 2025). See <code>MODEL_CARD.md</code>.</p>
"""


def page(counts: Mapping[str, object]) -> str:
    """The page as HTML.

    Args:
        counts: of the book.
    """
    by_state = counts["by_state"]
    told = {
        "Analyses paid": counts["uploads"],
        **(by_state if isinstance(by_state, dict) else {}),
        "Credits remaining": counts["remaining"],
        "Tokens asked for": counts["token_requests"],
    }
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in told.items())
    return f"{_HEAD}<table>{''.join(rows)}</table>{_FOOT}"

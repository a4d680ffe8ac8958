"""The analyser's words. A word that is not here is not understood; none defaults to "no".

Source: Netra API 1.0, sample of getResult, for the positive words. The document states no negative word: those here are
assumptions (the plain opposites, and for quality the wording that the IRIS tele-retinal vendor uses), to be confirmed
with the vendor; until then they are what our stand-in says.
"""

from __future__ import annotations

from collections.abc import Mapping

IS_FUNDUS: Mapping[str, bool] = {"yes": True, "no": False}
IS_GRADABLE: Mapping[str, bool] = {
    "gradable image": True,
    "gradable": True,
    "ungradable image": False,
    "not gradable image": False,
    "ungradable": False,
    "not gradable": False,
}
HAS_RETINOPATHY: Mapping[str, bool] = {"detected": True, "not detected": False}
IS_REFERABLE: Mapping[str, bool] = {"yes": True, "no": False}

QUEUED, COMPLETED, ERROR, HOLD = "QUEUED", "COMPLETED", "ERROR", "HOLD"
JOB_STATES = frozenset({QUEUED, COMPLETED, ERROR, HOLD})


def folded(literal: str) -> str:
    """The word without regard to case and to how it is spaced."""
    return " ".join(literal.split()).casefold()

"""A program that uses a stock client: acts as lines of JSON on stdin, what the client gave as lines on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

Json = dict[str, Any]  # Any: FHIR JSON


def run(program: Callable[[str], Any], refusal: Callable[[Exception], Json | None]) -> None:
    """Carry out acts until stdin ends.

    Args:
        program: the acts, for a base URL.
        refusal: what a caller sees of an error, or None when it is a defect.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        with redirect_stdout(sys.stderr):  # some clients print
            gave = _carry_out(asked, program, refusal)
        print(json.dumps(gave), flush=True)


def _carry_out(asked: Json, program: Callable[[str], Any], refusal: Callable[[Exception], Json | None]) -> Json:
    try:
        return {"gave": getattr(program(asked["base"]), asked["act"])(**asked["with"])}
    except Exception as why:
        if seen := refusal(why):
            return seen
        raise

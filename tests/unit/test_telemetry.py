"""What a process has to say is one JSON object a line, whoever says it, and quotes nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def said(program: str) -> list[dict[str, Any]]:
    """What a process that runs `program` says on standard error, line by line."""
    begin = "import logging, threading, warnings; from fundus_relay import telemetry; telemetry.configure('INFO')"
    done = subprocess.run([sys.executable, "-c", f"{begin}\n{program}"], capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    "program",
    [
        "logging.getLogger('psycopg.pool').warning('error connecting: %s', 'Gabler')",
        "logging.getLogger('procrastinate.worker').error(f'job of {\"Gabler\"} failed')",
        "import uvicorn; uvicorn.Config('x', log_config=None); logging.getLogger('uvicorn.error').error('Gabler')",
        "logging.getLogger('httpx').warning('HTTP Request: %s', 'GET /Patient?name=Gabler')",
        "try: int('Gabler')\nexcept ValueError: logging.getLogger('procrastinate').exception('job %s', 1)",
        "try: int('Gabler')\nexcept ValueError as why:\n  try: raise KeyError('Gabler') from why\n"
        "  except KeyError: logging.getLogger('fundus_relay.x').exception('failed')",
        "warnings.warn('Gabler')",
        "threading.Thread(target=lambda: int('Gabler')).start()",
        "int('Gabler')",
    ],
    ids=[
        "psycopg",
        "procrastinate",
        "uvicorn",
        "httpx",
        "a library's exception",
        "an exception's cause",
        "warning",
        "thread",
        "crash",
    ],
)
def test_whoever_speaks_says_one_line_of_json_and_quotes_nobody(program: str) -> None:
    (line,) = said(program)

    assert line["level"] in {"WARNING", "ERROR", "CRITICAL"}
    assert line["places"]
    assert "Gabler" not in json.dumps(line)


def test_what_a_font_is_made_of_is_not_told_with_each_page() -> None:
    assert said("logging.getLogger('fontTools.subset').info('%s pruned', 'post')") == []


def test_our_own_line_has_the_fields_of_the_list_and_no_other() -> None:
    (line,) = said("logging.getLogger('fundus_relay.x').info('moved', extra={'image': 'i', 'patient': 'Gabler'})")

    assert {name: line[name] for name in line if name not in {"at", "logger", "process"}} == {
        "level": "INFO",
        "event": "moved",
        "image": "i",
    }

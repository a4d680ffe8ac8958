"""Logs: one JSON object a line, static event names, and no field but those on this list.

What is not listed is not printed, so that no patient data can reach a log by accident. An exception is printed as its
type, our code and the places it passed; its text only when the error is ours, whose texts hold ids and codes alone.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

from fundus_relay.domain.errors import RelayError

FIELDS = frozenset(
    {
        "acquisition",
        "address",
        "attempt",
        "bytes",
        "caller",
        "code",
        "count",
        "credits",
        "delivery",
        "destination",
        "duration_ms",
        "element",
        "from_state",
        "image",
        "job",
        "kept",
        "method",
        "migration",
        "port",
        "probes",
        "part",
        "process",
        "reason",
        "request",
        "retry_after_s",
        "revision",
        "route",
        "signal",
        "state",
        "status",
        "study",
        "subject",
        "submission",
        "task",
        "to_state",
        "version",
    }
)
"""Every field that a log line may have. `subject` is a row's kind, such as `image`, never a person."""

LIBRARIES_AT_WARNING = (
    "httpx",
    "httpcore",
    "uvicorn",
    "uvicorn.error",
    "procrastinate",
    "psycopg",
    "asyncio",
    "PIL",
    "fontTools",
    "fpdf",
    "urllib3",
)
LIBRARIES_THAT_REPEAT_THEMSELVES = ("opentelemetry",)
"""At every try, of a collector that is away; `adapters.traces` tells it once."""

log = logging.getLogger(__name__)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        is_ours = record.name.startswith("fundus_relay")
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.msg if is_ours else _static(record),
        }
        line |= {
            name: value for name, value in record.__dict__.items() if is_ours and name in FIELDS and value is not None
        }
        if not is_ours:
            line["places"] = [f"{record.module}:{record.lineno}"]
        if record.exc_info and record.exc_info[1] is not None:
            line |= _told(record.exc_info[1], record.exc_info[2])
        return json.dumps(line, ensure_ascii=False, default=str)


def _static(record: logging.LogRecord) -> str:
    """A library's message before its arguments were filled in: those may be anybody's data."""
    return (
        str(record.msg) if record.args else type(record.msg).__name__ if not isinstance(record.msg, str) else "message"
    )


def _told(error: BaseException, places: TracebackType | None) -> dict[str, object]:
    told: dict[str, object] = {"error": type(error).__name__}
    if isinstance(error, RelayError):
        told |= {"code": error.code, "text": str(error)}
    if places is not None:
        told["places"] = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(places)]
    return told


def configure(level: str) -> None:
    """Send all that this process says to standard error as JSON lines: logs, warnings, and its own end by a bug."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in LIBRARIES_AT_WARNING:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in LIBRARIES_THAT_REPEAT_THEMSELVES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = _crash
    threading.excepthook = lambda crash: _crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _crash(kind: type[BaseException], error: BaseException | None, places: TracebackType | None) -> None:
    log.critical("crashed", exc_info=(kind, error or kind(), places))

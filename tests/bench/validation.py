"""(e) Validating one resource, whatever its picture's size, beside what the library's models alone take for it."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

from fhir.resources.R4B import get_fhir_model_class
from tests.unit.fhir.intake.valid import EXAMPLES, VALID, Json

from fundus_relay.fhir.intake.parsing import parse
from fundus_relay.fhir.intake.skeleton import Cutter
from fundus_relay.fhir.intake.submission import read_submission

PICTURES = (0, 100_000, 3_500_000, 20_000_000)
ROUNDS = 400


@dataclass(frozen=True, slots=True)
class Row:
    """What the library's models and we take for one resource.

    Attributes:
        whole_ms: what the models take for a Media with its picture; None of other types.
    """

    name: str
    floor_ms: list[float]
    relay_ms: list[float]
    whole_ms: float | None


class Nowhere:
    """A sink for pixels."""

    def write(self, data: bytes) -> None:
        """Keep nothing."""


def measure() -> list[Row]:
    """A Media with pictures of growing size, then one of each other type, and the largest example of HL7."""
    largest = max(EXAMPLES, key=lambda each: len(json.dumps(each)))
    rows = [_row(f"Media, picture of {size / 1e6:.1f} MB", _media(size)) for size in PICTURES]
    rows += [_row(kind, resource) for kind, resource in VALID.items() if kind not in {"Media", "Bundle"}]
    return [*rows, _row(f"{largest['resourceType']}/{largest['id']} of HL7", largest)]


def _media(size: int) -> Json:
    media = deepcopy(VALID["Media"])
    media["content"] |= {"data": b64encode(bytes(size)).decode(), "size": size}
    return media


def _row(name: str, resource: Json) -> Row:
    body = json.dumps(resource).encode()
    cutter = Cutter(lambda _: Nowhere())
    cutter.feed(body)
    skeleton = cutter.finish()
    floor, relay = partial(_floor, skeleton), partial(_relay, skeleton)
    floor(), relay()  # warm
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):  # in turns, so that a slow moment hits both
        times[0].append(_ms(floor))
        times[1].append(_ms(relay))
    whole = min(_ms(partial(_floor, body)) for _ in range(3)) if "content" in resource else None
    return Row(name, sorted(times[0]), sorted(times[1]), whole)


def _floor(text: bytes) -> None:
    resource = json.loads(text)
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def _relay(text: bytes) -> None:
    read_submission(parse(text))


def _ms(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def table(rows: list[Row]) -> str:
    """As Markdown, with the ratios that count."""
    lines = [
        "| resource | models alone p50 ms | relay p50 ms | of the floor | relay p95 ms | models with the picture ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        floor, relay = row.floor_ms[ROUNDS // 2], row.relay_ms[ROUNDS // 2]
        whole = "–" if row.whole_ms is None else f"{row.whole_ms:.1f}"
        lines.append(
            f"| {row.name} | {floor:.2f} | {relay:.2f} | {relay / floor:.1f} "
            f"| {row.relay_ms[ROUNDS * 95 // 100]:.2f} | {whole} |"
        )
    return "\n".join(lines)

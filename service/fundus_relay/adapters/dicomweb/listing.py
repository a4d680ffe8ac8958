"""What an archive says that a study has, in the DICOM JSON model, read while it arrives.

Source: DICOM PS3.18 Annex F, 10.6 (search) and 10.4 (metadata).
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Any, TypeAlias

from fundus_relay.domain.dicom import InstanceName, ListedInstance, is_uid

FIELDS = "00080016,00080060,00100020,00200011,00200013,00280008"
"""SOP class, modality, patient, numbers of series and instance, frames: what a search gives only if it is asked to."""

LONGEST_INSTANCE = 1_000_000

Place: TypeAlias = tuple[int, str, int, str]
"""Of an instance in its study: number and UID of its series, its own number and UID."""

_BLANK = " \t\r\n"
_BETWEEN = _BLANK + ","


class NotListed(Exception):
    """The answer is no list of instances, or broke off."""


class OfAnotherStudy(NotListed):
    """The answer lists what was not asked for."""


class Listing:
    """Feed it the answer in chunks; it gives each instance once it is whole, so that no more than one is held."""

    def __init__(self, study: str) -> None:
        self._study = study
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._read = json.JSONDecoder().raw_decode
        self._text = ""
        self._is_begun = self._is_ended = False

    def feed(self, chunk: bytes) -> list[tuple[Place, ListedInstance]]:
        """Those that this chunk completes. Raises NotListed."""
        try:
            self._text += self._decoder.decode(chunk)
            return [_listed(each, self._study) for each in self._whole()]
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as exc:
            raise NotListed from exc

    def finish(self) -> None:
        """The answer has ended, with nothing at all when nothing was found. Raises NotListed."""
        if self._text.strip(_BLANK) or self._is_begun != self._is_ended:
            raise NotListed

    def _whole(self) -> Iterator[dict[str, Any]]:  # Any: DICOM JSON
        rest = self._text.lstrip(_BETWEEN if self._is_begun else _BLANK)
        while rest and not self._is_ended:
            if not self._is_begun or rest[0] == "]":
                self._is_ended = self._is_begun
                self._is_begun = True
                if rest[0] not in "[]" or (rest[0] == "]") != self._is_ended:
                    raise NotListed
                rest = rest[1:].lstrip(_BLANK)
                continue
            if rest[0] != "{":
                raise NotListed
            try:
                value, end = self._read(rest)
            except json.JSONDecodeError:
                if len(rest) > LONGEST_INSTANCE:
                    raise
                break
            yield value
            rest = rest[end:].lstrip(_BETWEEN)
        self._text = rest


def _listed(each: dict[str, Any], study: str) -> tuple[Place, ListedInstance]:  # Any: DICOM JSON
    name = InstanceName(_first(each, "0020000D") or study, _first(each, "0020000E"), _first(each, "00080018"))
    if name.study != study:
        raise OfAnotherStudy
    if not is_uid(name.series) or not is_uid(name.instance):
        raise NotListed
    instance = ListedInstance(
        name,
        sop_class=_first(each, "00080016"),
        modality=_first(each, "00080060"),
        patient_id=_first(each, "00100020"),
        frames=max(1, _number(each, "00280008")),
    )
    return (_number(each, "00200011"), name.series, _number(each, "00200013"), name.instance), instance


def _first(each: dict[str, Any], tag: str) -> str:  # Any: DICOM JSON
    values = each.get(tag, {}).get("Value", [])
    return str(values[0]).strip(" \0") if values and values[0] is not None else ""


def _number(each: dict[str, Any], tag: str) -> int:  # Any: DICOM JSON
    """Of an integer string, which archives give as a number or as text; 0 when it is none."""
    stated = _first(each, tag)
    return int(stated) if re.fullmatch(r"[+-]?[0-9]{1,12}", stated) else 0

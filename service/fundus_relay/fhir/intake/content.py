"""What the entries of one request are asked once the structure of each is right.

How this works: an entry of a batch that is refused changes nothing but the references to it, so only those who refer to
it are asked again. Few may refer to another at all, and whose patient has fallen is the last to fall; so the work stays
in proportion to the body, whoever wrote it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Entry

from ..literals import Bases
from .references import Names, check_patients, check_pointers
from .rules import check_rules, check_together
from .structure import Pointer


@dataclass(frozen=True, slots=True)
class Examined:
    """An entry of right structure, and the references that it holds."""

    entry: Entry
    pointers: Sequence[Pointer]


class Content:
    """The entries of one request that nothing is known against."""

    def __init__(self, examined: Iterable[Examined], bundle: str | None, bases: Bases) -> None:
        self._standing = {each.entry.element: each for each in examined}
        self._bundle = bundle
        self._names = Names([each.entry for each in self._standing.values()], bases)
        self._patients = {at for at, each in self._standing.items() if each.entry.resource["resourceType"] == "Patient"}
        self._referrers: defaultdict[str, list[str]] = defaultdict(list)

    @property
    def entries(self) -> list[Entry]:
        """In the order of the request; in a transaction, whatever means another entry names its `element`."""
        entries = [each.entry for each in self._standing.values()]
        if self._bundle != "transaction":
            return entries
        return [replace(entry, resource=self._linked(entry.resource, entry)) for entry in entries]

    def _linked(self, part: Any, holder: Entry) -> Any:  # Any: any part of a FHIR resource
        if isinstance(part, list):
            return [self._linked(item, holder) for item in part]
        if not isinstance(part, dict):
            return part
        linked = {key: self._linked(value, holder) for key, value in part.items()}
        if isinstance(part.get("reference"), str) and (target := self._names.target(part, holder)) is not None:
            linked["reference"] = target.element
        return linked

    def issues(self) -> list[Issue]:
        """What is wrong with all of them."""
        rules = [issue for each in self._standing.values() for issue in check_rules(each.entry)]
        return [*rules, *self._between(self._standing)]

    def issues_without(self, refused: Sequence[str]) -> list[Issue]:
        """What is wrong with the others when these, by their elements, are taken away, and was not before."""
        for element in refused:
            self._names.forget(self._standing.pop(element).entry)
            self._patients.discard(element)
        referring = (at for gone in refused for at in self._referrers.pop(gone, ()))
        changed = [at for at in dict.fromkeys(referring) if at in self._standing]
        return [*self._between(changed)]

    def _between(self, asked: Iterable[str]) -> Iterator[Issue]:
        """What is wrong with the references of these, by their elements."""
        entries = []
        for at in asked:
            entry, pointers = self._standing[at].entry, self._standing[at].pointers
            entries.append(entry)
            for pointer in pointers:
                for target in self._names.meant(pointer.reference, entry):
                    self._referrers[target.element].append(at)
            yield from check_pointers(pointers, entry, self._names, is_batch=self._bundle == "batch")
        if self._bundle is not None:
            yield from check_together(entries, self._names)
            yield from check_patients(entries, self._names, self._patients)

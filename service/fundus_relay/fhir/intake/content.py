"""What the entries of one request are asked once the structure of each is right.

How this works: an entry of a batch that is refused changes nothing but the references to it, so only those who refer to
it are asked again, and that a few times at most. So the work stays in proportion to the body, whoever wrote it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Entry

from .references import Names, check_patients, check_pointers
from .rules import check_rules, check_together
from .structure import Pointer

ASKED_AGAIN = 4
"""How often one entry is at most: references of real records are seldom deeper."""


@dataclass(frozen=True, slots=True)
class Examined:
    """An entry of right structure, and the references that it holds."""

    entry: Entry
    pointers: Sequence[Pointer]


class Content:
    """The entries of one request that nothing is known against."""

    def __init__(self, examined: Iterable[Examined], *, is_bundle: bool) -> None:
        self._standing = {each.entry.element: each for each in examined}
        self._is_bundle = is_bundle
        self._names = Names([each.entry for each in self._standing.values()])
        self._patients = {at for at, each in self._standing.items() if each.entry.resource["resourceType"] == "Patient"}
        self._referrers: defaultdict[str, list[str]] = defaultdict(list)
        self._asked_again: Counter[str] = Counter()

    @property
    def entries(self) -> list[Entry]:
        """In the order of the request."""
        return [each.entry for each in self._standing.values()]

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
        self._asked_again.update(changed)
        return [*self._entangled(changed), *self._between(changed)]

    def _between(self, asked: Iterable[str]) -> Iterator[Issue]:
        """What is wrong with the references of these, by their elements."""
        entries = []
        for at in asked:
            entry, pointers = self._standing[at].entry, self._standing[at].pointers
            entries.append(entry)
            for pointer in pointers:
                if (target := self._names.target(pointer.reference)) is not None:
                    self._referrers[target.element].append(at)
            yield from check_pointers(pointers, entry.resource, self._names)
        if self._is_bundle:
            yield from check_together(entries, self._names)
            yield from check_patients(entries, self._names, self._patients)

    def _entangled(self, changed: Iterable[str]) -> Iterator[Issue]:
        for at in changed:
            if self._asked_again[at] > ASKED_AGAIN:
                text = "it refers to too many entries that are refused one because of the other"
                yield Issue(at, "too-costly", text, "references-entangled")

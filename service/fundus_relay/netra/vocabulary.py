"""The analyser's words, and what each of them means. A word that is not here means nothing: it is not understood.

Source: positive words from the sample output of "Get Result for DR Analysis", Netra API 1.0. NEGATIVE words are NOT
STATED by the document; they are assumptions: the stand-in's choice (imageQuality also as a comparable vendor, IRIS,
says it). To be confirmed with the vendor before any negative result is relied on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fundus_relay.domain.errors import AnswerNotUnderstood

from .notation import Members, is_word


@dataclass(frozen=True, slots=True)
class Question:
    """One question that the analyser answers with a word.

    Attributes:
        field: its name as the document spells it.
        spellings: other names that are taken for it.
        words: meaning by word, in lower case with single blanks.
    """

    field: str
    words: Mapping[str, bool]
    spellings: tuple[str, ...] = ()

    def literal(self, members: Members) -> str | None:
        """The word that was said, or None when there is none that may be kept."""
        said = members.every(self.field, *self.spellings)
        return said[0] if len(said) == 1 and isinstance(said[0], str) and is_word(said[0]) else None

    def answer(self, members: Members) -> bool:
        """What was said.

        Raises:
            AnswerNotUnderstood: nothing, two different things, or a word that is not in the table.
        """
        said = members.one(self.field, *self.spellings)
        if said is None:
            raise AnswerNotUnderstood(f"{self.field}: missing")
        if not isinstance(said, str):
            raise AnswerNotUnderstood(f"{self.field}: not a word")
        meaning = self.words.get(fold(said))
        if meaning is None:
            raise AnswerNotUnderstood(f"{self.field}: a word that we do not know")
        return meaning


def fold(word: str) -> str:
    """In lower case, with single blanks."""
    return " ".join(word.split()).lower()


IS_FUNDUS = Question("eyeOrNot", {"yes": True, "no": False})  # "no" is assumed
IS_GRADABLE = Question(
    "imageQuality",
    {
        "gradable image": True,
        "ungradable image": False,  # assumed
        "not gradable image": False,  # assumed
    },
)
HAS_RETINOPATHY = Question("drYes", {"detected": True, "not detected": False})  # "not detected" is assumed
IS_REFERABLE = Question("referrableDR", {"yes": True, "no": False}, spellings=("referableDR",))  # "no" is assumed

QUESTIONS = (IS_FUNDUS, IS_GRADABLE, HAS_RETINOPATHY, IS_REFERABLE)

COMPLETED, ERROR = (
    "COMPLETED",
    "ERROR",
)  # of a job that ended; QUEUED and HOLD are the states that the document knows else

STANDIN = "standin"
"""Key, true, in replies of the stand-in; Netra's have none."""

"""What the analyser answered about one image, once we are sure that we understood it.

A union of small classes: an ungradable image has no DR value to misread, and an answer that we did not understand is
none of these (it is an `AnswerNotUnderstood`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .geometry import Box


@dataclass(frozen=True, slots=True)
class Lesion:
    """A sign seen in an image.

    Attributes:
        literal: the analyser's own word, e.g. `Deep Hemorrhage`.
        box: in pixels of the image that was sent to the analyser.
        source: the analyser's box string verbatim.
    """

    literal: str
    box: Box
    source: str


@dataclass(frozen=True, slots=True)
class Graded:
    """A gradable fundus image with an answer to both questions."""

    has_retinopathy: bool
    is_referable: bool
    lesions: tuple[Lesion, ...] = ()
    literals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ungradable:
    """A fundus image in which nothing can be judged; values that arrived with it are suppressed."""

    literals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotFundus:
    """No photograph of a retina."""

    literals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnalysisFailed:
    """The analyser ended the job with ERROR.

    Attributes:
        code: the analyser's error code, e.g. `LC-ERR-0035`, or empty.
    """

    code: str = ""
    literals: dict[str, str] = field(default_factory=dict)


Analysis = Graded | Ungradable | NotFundus | AnalysisFailed

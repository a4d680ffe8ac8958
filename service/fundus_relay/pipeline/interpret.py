"""Whether an understood answer can be true of the picture that was sent."""

from __future__ import annotations

from fundus_relay.domain.analysis import Analysis, Graded
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.domain.values import PreparedPicture


def interpret(analysis: Analysis, sent: PreparedPicture) -> Analysis:
    """The analysis, if each of its boxes lies in the picture that was sent.

    Raises:
        AnswerNotUnderstood: a box lies outside: then we do not know which frame any of them is in.
    """
    if isinstance(analysis, Graded) and not all(lesion.box.lies_in(sent.size) for lesion in analysis.lesions):
        raise AnswerNotUnderstood("lesionBbox: a box outside the picture that was sent")
    return analysis

"""The four state machines: image, study, delivery, acquisition. One table each; nothing moves outside it."""

from __future__ import annotations

from enum import StrEnum


class ImageState(StrEnum):
    """One photograph of one study."""

    RECEIVED = "received"
    PREPARED = "prepared"
    SENDING = "sending"  # committed before the upload leaves: a crash after it makes the upload ambiguous
    ANALYSING = "analysing"
    ANSWERED = "answered"
    REJECTED = "rejected"  # the sender must send another picture
    PARKED = "parked"  # waits for a person
    CANCELLED = "cancelled"  # its sender has taken it back


class StudyState(StrEnum):
    """The photographs of one visit; one report, ever."""

    COLLECTING = "collecting"
    REPORTED = "reported"


class DeliveryState(StrEnum):
    """One report revision on its way to one destination."""

    DUE = "due"
    WRITING = "writing"  # committed before the transaction leaves: afterwards the EHR is searched first
    CONFIRMED = "confirmed"  # read back, not only answered
    PARKED = "parked"
    SUPERSEDED = "superseded"  # a later revision of the same report is due or delivered


class AcquisitionState(StrEnum):
    """One study's pictures on their way here from an archive."""

    DUE = "due"
    COMPLETE = "complete"  # until its sender says that there is more
    REJECTED = "rejected"  # the archive has nothing of it that can be analysed
    PARKED = "parked"  # waits for a person; what came is not held back, unless it may be somebody else's
    CANCELLED = "cancelled"  # its sender has taken the study back


class TaskState(StrEnum):
    """FHIR Task.status of a submission.

    Source: FHIR R4 4.0.1, value set task-status.
    """

    ACCEPTED = "accepted"
    IN_PROGRESS = "in-progress"
    ON_HOLD = "on-hold"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_I, _D, _A = ImageState, DeliveryState, AcquisitionState

IMAGE_MOVES: dict[ImageState, frozenset[ImageState]] = {
    _I.RECEIVED: frozenset({_I.PREPARED, _I.REJECTED, _I.PARKED, _I.CANCELLED}),
    _I.PREPARED: frozenset({_I.SENDING, _I.PARKED, _I.CANCELLED}),
    _I.SENDING: frozenset({_I.ANALYSING, _I.PREPARED, _I.REJECTED, _I.PARKED}),
    _I.ANALYSING: frozenset({_I.ANSWERED, _I.PARKED, _I.CANCELLED}),
    _I.PARKED: frozenset({_I.RECEIVED, _I.PREPARED, _I.ANALYSING, _I.REJECTED, _I.CANCELLED}),
    _I.ANSWERED: frozenset({_I.CANCELLED}),
    _I.REJECTED: frozenset({_I.CANCELLED}),
    _I.CANCELLED: frozenset({_I.RECEIVED, _I.ANALYSING, _I.ANSWERED, _I.PARKED}),  # sent again as a new Media
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    _D.DUE: frozenset({_D.WRITING, _D.SUPERSEDED, _D.PARKED}),
    _D.WRITING: frozenset({_D.CONFIRMED, _D.DUE, _D.PARKED, _D.SUPERSEDED}),
    _D.PARKED: frozenset({_D.DUE}),
    _D.CONFIRMED: frozenset(),
    _D.SUPERSEDED: frozenset(),
}

ACQUISITION_MOVES: dict[AcquisitionState, frozenset[AcquisitionState]] = {
    _A.DUE: frozenset({_A.COMPLETE, _A.REJECTED, _A.PARKED, _A.CANCELLED}),
    _A.COMPLETE: frozenset({_A.DUE, _A.CANCELLED}),
    _A.REJECTED: frozenset({_A.DUE, _A.CANCELLED}),
    _A.PARKED: frozenset({_A.DUE, _A.CANCELLED}),
    _A.CANCELLED: frozenset({_A.DUE}),  # sent again
}

IMAGE_SETTLED = frozenset({_I.ANSWERED, _I.REJECTED, _I.PARKED, _I.CANCELLED})
"""States in which an image no longer keeps its study's report waiting."""

"""What a deployment chose, as the stages need it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from fundus_relay.domain.credits import NO_FLOORS, Floors
from fundus_relay.domain.dicom import PHOTOGRAPHS
from fundus_relay.domain.policy import AmbiguousUpload, Precheck


@dataclass(frozen=True, slots=True)
class Rules:
    """Times, limits and policies of the journey.

    Attributes:
        give_up_after: of the analyser's silence; then the image is parked.
        settle_lost_after: an upload seems lost; until then its answer may still come.
        keep_trying_for: to commit what came once and cannot be asked for again.
        most_declines: tries of an upload to which the analyser says no for a reason that nobody knows.
        hold_factor: how much rarer an image on HOLD is asked for: people work there.
        floors: credits that are kept back for what is more urgent.
        wait_for_late: how long a report waits for photographs that an archive should have and has not.
        wait_for_archive: how long, when the archive did not let us look at all of what it has.
        acquisition_horizon: of trying to fetch a study, before parking.
        modalities: of instances that are photographs; when a study has none, those of `other_modalities` are taken.
        sop_classes: of instances that are taken at all.
        max_instance_bytes: of one DICOM file. max_pixels: of one of its frames.
        sheet, overlays: whether any destination is to get the PDF, or pictures with boxes; else none are made.
        retry_horizon: by destination, of trying to deliver.
        public_url: base of our FHIR endpoint as others see it.
        organization: shown as the report's performer.
    """

    public_url: str
    organization: str
    retry_horizon: Mapping[str, timedelta]
    poll_interval: timedelta = timedelta(seconds=90)
    give_up_after: timedelta = timedelta(minutes=30)
    sheet: bool = True
    overlays: bool = True
    settle_lost_after: timedelta = timedelta(seconds=15)
    keep_trying_for: timedelta = timedelta(minutes=10)
    most_declines: int = 12
    hold_factor: int = 10
    floors: Floors = NO_FLOORS
    wait_for_late: timedelta = timedelta(minutes=10)
    wait_for_archive: timedelta = timedelta(hours=1)
    acquisition_horizon: timedelta = timedelta(hours=72)
    modalities: tuple[str, ...] = ("OP",)
    other_modalities: tuple[str, ...] = ("XC", "OT", "SC")
    sop_classes: frozenset[str] = PHOTOGRAPHS
    max_instance_bytes: int = 200_000_000
    max_pixels: int = 100_000_000
    ambiguous_upload: AmbiguousUpload = AmbiguousUpload.RESEND
    precheck: Precheck = Precheck.ADVISE
    first_wait: timedelta = timedelta(seconds=2)
    longest_wait: timedelta = timedelta(minutes=15)
    chance: random.Random = field(default_factory=random.SystemRandom)

    def wait(self, attempt: int, *, at_least: timedelta | None = None) -> timedelta:
        """How long to wait after the `attempt`-th failure, from 1: exponential, full jitter, never under a second.

        Args:
            at_least: what the other side asked for (Retry-After).
        """
        ceiling: timedelta = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt, 16))
        jittered = timedelta(seconds=1) + (ceiling - timedelta(seconds=1)) * self.chance.random()
        return max(jittered, at_least or timedelta(0))

    def until_next_poll(self, *, on_hold: bool = False) -> timedelta:
        """The poll interval with a tenth of jitter, so that a burst of images does not stay a burst."""
        return self.poll_interval * (0.9 + 0.2 * self.chance.random()) * (self.hold_factor if on_hold else 1)

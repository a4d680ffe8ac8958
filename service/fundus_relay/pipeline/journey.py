"""The journey of one image: received → prepared → sending → analysing → answered.

How this works. `advance_image` takes the image's next step until the image waits, has ended, or somebody else has it.
A step looks at the image as it was read, does one thing to the world, and settles `where id, state and attempt` are
still the same, together with the job that follows: a step done twice changes nothing the second time. The engine runs
us at least once; the only step that must not simply be repeated is the upload, which costs money and has no key. So
`sending` is committed before the upload leaves, and an image found in `sending` goes to `ambiguity.settle_upload`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import assert_never

from fundus_relay.domain.credits import NO_FLOORS
from fundus_relay.domain.errors import (
    AnalyserDeclined,
    AnalyserRefused,
    AnswerNotUnderstood,
    CreditsExhausted,
    PictureLost,
    Rejected,
    Unavailable,
    UploadAmbiguous,
)
from fundus_relay.domain.policy import Precheck
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, PreparedPicture
from fundus_relay.imaging.precheck import advise
from fundus_relay.imaging.preparation import prepare

from .ambiguity import settle_upload
from .interpret import interpret
from .kept import kept, looked_at, make_sure
from .ports import Job, Ports
from .receipt import keep_receipt
from .rules import Rules
from .settle import end, is_waiting, postpone
from .spending import SPENDING, hold, objection
from .withdrawal import cancel_if_withdrawn

Step = Callable[[Image, Ports, Rules], Awaitable[bool]]
"""One step of the journey; True when the next one may follow at once."""


async def advance_image(image_id: str, ports: Ports, rules: Rules) -> None:
    """Take the next steps of an image; returns when it waits, has ended, or is not ours to move."""
    went_on = True
    while went_on:
        async with ports.ledger.transaction() as tx:
            image = await tx.image(image_id)
        if image is None or (step := next_step(image)) is None or is_waiting(image, ports.clock.now()):
            return
        with traced(step, image, ports):
            try:
                went_on = await step(image, ports, rules)
            except Unavailable as why:
                went_on = await postpone(image, why, ports, rules)
            except PictureLost as why:
                went_on = await end(image, ImageState.PARKED, why, ports)


def traced(step: Step, image: Image, ports: Ports) -> AbstractContextManager[None]:
    """The step as a span of the image's trace, by its name here."""
    name, size = step.__name__.replace("_", " "), image.source.byte_count
    return ports.tracer.step(name, [image.trace], row=image.id, image=image.id, attempt=image.attempt + 1, bytes=size)


def next_step(image: Image) -> Step | None:
    """What may be done for this image now; None when it ended, or when only the poll can move it."""
    match image.state:
        case ImageState.RECEIVED:
            return prepare_image
        case ImageState.PREPARED:
            return send_image
        case ImageState.SENDING:
            return settle_upload
        case ImageState.ANALYSING if image.job_status is not None:
            return fetch_answer
        case _:
            return None


async def prepare_image(image: Image, ports: Ports, rules: Rules) -> bool:
    """received → prepared: what the analyser may see, and the way back to the source's pixels."""
    async with ports.decoding:
        picture = memoryview(await kept(image.source.sha256, ports))  # which `prepare` lets go
        try:
            prepared = await asyncio.to_thread(prepare, picture, frame=image.source.frame)
        except Rejected as why:
            return await end(image, ImageState.REJECTED, why, ports)
        advice = () if rules.precheck is Precheck.OFF else await asyncio.to_thread(advise, prepared.picture)
        stored = PreparedPicture(
            sha256=await ports.blobs.put(prepared.picture),
            media_type=prepared.media_type,
            size=prepared.size,
            to_source=prepared.to_source,
            steps=prepared.steps,
        )
    is_held = bool(advice) and rules.precheck is Precheck.HOLD
    async with ports.ledger.transaction() as tx:
        await make_sure([stored.sha256], tx, ports.blobs)
        state, reason = (ImageState.PARKED, advice[0]) if is_held else (ImageState.PREPARED, None)
        moved = await tx.move_image(image, state, reason=reason, prepared=stored, advice=advice, attempt=0, due_at=None)
        if is_held:
            await tx.enqueue(Job.STUDY, image.study_id)
    return moved is not None and not is_held


async def send_image(image: Image, ports: Ports, rules: Rules) -> bool:
    """prepared → sending → analysing: one credit."""
    assert image.prepared is not None  # noqa: S101 - the state says so; mypy cannot know
    if await _waits_for_credits(image, ports, rules):
        return False
    sending: Image | None = None
    try:
        async with ports.analyser.ready(image.urgency) as hand_in:
            picture = await looked_at(image.prepared.sha256, ports)
            # only now, so that nothing slow lies between `sending` and the upload
            sending = await _commit_to_send(image, ports, rules)
            if sending is None:
                return False
            upload = await hand_in(picture, image.prepared.media_type, label=f"image-{image.id}")
    except (UploadAmbiguous, AnalyserRefused, Unavailable) as why:
        if sending is None:
            raise
        return await _not_taken_in(image, sending, why, ports, rules)
    await keep_receipt(sending, upload, ports, rules)
    if upload.remaining is None and rules.floors != NO_FLOORS:
        with suppress(Unavailable):  # else the count that is known stays what it was, and the floors are spent
            await ports.analyser.credits()
    return False  # the poll goes on with it


async def _not_taken_in(
    before: Image, sending: Image, why: UploadAmbiguous | AnalyserRefused | Unavailable, ports: Ports, rules: Rules
) -> bool:
    """sending → where the analyser's no, or its silence, leads."""
    match why:
        case UploadAmbiguous():
            return await settle_upload(sending, ports, rules)
        case AnalyserRefused():
            return await end(sending, ImageState.REJECTED, why, ports)
        case CreditsExhausted():
            async with ports.ledger.transaction() as tx:
                await hold(sending, why, tx, ports.clock.now(), rules)
                await tx.account.note_exhausted()
            return False
        case AnalyserDeclined() if before.reason == why.code and sending.attempt >= rules.most_declines:
            return await end(sending, ImageState.PARKED, why, ports, told=why.vendor_code)
        case Unavailable():  # for certain not taken
            return await postpone(sending, why, ports, rules, to=ImageState.PREPARED)
        case _:
            assert_never(why)


async def _waits_for_credits(image: Image, ports: Ports, rules: Rules) -> bool:
    """Hold it before it waits for a turn, if it may not be sent now.

    The count is asked for if nobody did yet: without one there is no evidence when an upload gets lost.
    """
    async with ports.ledger.transaction() as tx:
        credits = await tx.account.credits()
        if (why := objection(image.urgency, credits, rules.floors)) is not None:
            await hold(image, why, tx, ports.clock.now(), rules)
            return True
    if credits.remaining is None:
        await ports.analyser.credits()
    return False


async def _commit_to_send(image: Image, ports: Ports, rules: Rules) -> Image | None:
    async with ports.ledger.transaction() as tx:
        if await cancel_if_withdrawn(image, tx):
            return None
        await tx.hold([SPENDING])  # whoever was before us is counted among those under way
        if (why := objection(image.urgency, await tx.account.credits(), rules.floors)) is not None:
            await hold(image, why, tx, ports.clock.now(), rules)
            return None
        mark = await tx.account.mark_credits()
        return await tx.move_image(
            image,
            ImageState.SENDING,
            reason=image.reason,
            credit_mark=mark,
            attempt=image.attempt + 1,
            due_at=None,
        )


async def fetch_answer(image: Image, ports: Ports, rules: Rules) -> bool:
    """analysing → answered, once the poll saw the analyser's end of it."""
    assert image.job_id is not None and image.prepared is not None  # noqa: S101 - as in send_image
    try:
        answer = await ports.analyser.result(image.job_id, image.urgency)
        analysis = interpret(answer.analysis, image.prepared)
    except (AnswerNotUnderstood, Rejected) as why:
        return await end(image, ImageState.PARKED, why, ports)
    async with ports.ledger.transaction() as tx:
        await tx.move_image(
            image,
            ImageState.ANSWERED,
            analysis=analysis,
            answered_at=ports.clock.now(),
            is_standin=answer.is_standin,
            attempt=0,
            due_at=None,
        )
        await tx.enqueue(Job.STUDY, image.study_id)
    return False

"""Workers killed when the analyser has taken a photograph and not answered: it may have been paid, and here it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.cluster.clinic import Clinic, failed
from tests.cluster.kubernetes import at_the_standin, kill, kubectl, pods, rolled_out, until
from tests.cluster.settlement import images, possibly_double, settled

AT_ONCE = 4
"""Calls to the analyser over all workers, by FUNDUS_RELAY_ANALYSER__CONCURRENCY: no other upload is on its way."""


async def test_what_was_in_doubt_is_paid_again_once_and_counted(clinic: Clinic, shown: Callable[[str], None]) -> None:
    before, _ = await settled(clinic)

    async def is_counted() -> bool:
        return await possibly_double() == before.counted + AT_ONCE

    async with clinic.sending(per_second=1) as failures:
        await at_the_standin("faults", silent_after=AT_ONCE)
        await until(_has_fallen_silent, 55, "each call that may be made is an upload that was paid and is not answered")
        assert await images("state = 'sending' and due_at is null") == AT_ONCE
        first, second = await pods("worker")
        await asyncio.gather(kill(first), kill(second))
        await kubectl("delete", "pod", second["metadata"]["name"], "--grace-period=0", "--force")
        assert await images("state = 'sending'") == AT_ONCE
        counted_s = await until(is_counted, 150, "each is counted as possibly paid twice")
        await rolled_out("worker")
    found, _ = await settled(clinic)

    assert failed(failures) == []
    assert not found.wrong
    assert found.counted == before.counted + AT_ONCE
    assert found.paid - before.paid == found.images - before.images + AT_ONCE
    shown(
        f"{found.paid - before.paid} paid for {found.images - before.images} images and {AT_ONCE} in doubt, which were "
        f"counted after {counted_s:.0f} s; {clinic.so_far}"
    )


async def _has_fallen_silent() -> bool:
    return bool((await at_the_standin("faults"))["silent_after"] == 0)

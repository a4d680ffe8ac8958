"""What is as old as the operator lets it get goes, and nothing else: here pixels, by days."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import MemoryStore
from tests.flow.aging import come_to_the_present, files_of, grow_older
from tests.flow.photographs import in_error
from tests.flow.world import LEFT, World, a_photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.legal_hold import PostgresHolds
from fundus_relay.adapters.database.pool import connected
from fundus_relay.adapters.object_blobs import ObjectBlobs
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.values import Accepted
from fundus_relay.fhir.pages import blob_of
from fundus_relay.pipeline.collect import discard_condemned
from fundus_relay.pipeline.kept import make_sure
from fundus_relay.pipeline.operator import NothingOfThatName, hold, unhold
from fundus_relay.pipeline.purge import Purge

EYE, OTHER_EYE = a_jpeg(noise=21), a_jpeg(noise=22)
ORDER = [{"reference": "ServiceRequest/77"}]
MONTH = timedelta(days=30)
PIXELS = dict.fromkeys((Kept.SOURCE, Kept.PREPARED, Kept.PAGES), MONTH)


@pytest.fixture(autouse=True)
async def present(world: World) -> None:
    come_to_the_present(world)
    for id in ("77", "78"):
        order = {"resourceType": "ServiceRequest", "id": id, "status": "active", "intent": "order"}
        await world.ehr.put(f"/fhir/ServiceRequest/{id}", json=order)


async def purge(world: World, ages: dict[Kept, timedelta] = PIXELS) -> None:
    """A whole lap and the beginning of the next."""
    purging = Purge(world.ports, ages)
    for _ in range(2):
        await purging.round()


async def marks(world: World) -> list[tuple[bool, bool]]:
    """Of each image, whether its source and its prepared picture were purged."""
    async with connected(world.pool) as connection:
        found = await connection.execute(
            "select source_purged_at is not null, prepared_purged_at is not null from image order by arrival"
        )
        return [(row[0], row[1]) for row in await found.fetchall()]


async def test_pixels_of_what_ended_long_ago_go_and_the_ledger_stays(world: World, tmp_path: Path) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    assert len(files_of(tmp_path)) == 4  # source, prepared, a PDF and a photograph with boxes
    told = await world.report()

    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)

    assert files_of(tmp_path) == []
    assert await marks(world) == [(True, True)]
    assert (await world.task(taken.task_id))["status"] == "completed"
    assert await world.report() == told


@pytest.mark.parametrize("kept", PIXELS)
async def test_each_class_goes_by_itself(world: World, tmp_path: Path, kept: Kept) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    (image,) = await world.images()
    assert image.prepared is not None
    pictures = {Kept.SOURCE: image.source.sha256, Kept.PREPARED: image.prepared.sha256}

    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world, {kept: MONTH})

    left = {file.name for file in files_of(tmp_path)}
    assert len(left) == (2 if kept is Kept.PAGES else 3)
    assert left >= {digest for of, digest in pictures.items() if of is not kept}


async def test_without_an_age_everything_is_kept(world: World, tmp_path: Path) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()

    await grow_older(world, tmp_path, timedelta(days=5000))
    await purge(world, {})

    assert len(files_of(tmp_path)) == 4


async def test_what_is_younger_stays(world: World, tmp_path: Path) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()

    await grow_older(world, tmp_path, timedelta(days=29))
    await purge(world)

    assert await marks(world) == [(False, False)]
    assert len(files_of(tmp_path)) == 4


@pytest.mark.parametrize(
    "unfinished",
    [
        "update image set state = 'parked', reason = 'analyser-silent'",
        "update image set state = 'analysing'",
        "update delivery set state = 'parked', reason = 'record-refused'",
        "update delivery set state = 'writing'",
        "insert into study_look (study_id) select id from study",
        "insert into acquisition select id, id, id, 'i', 'a', 'u', 'parked', opened_at, opened_at from study",
        "insert into engine.procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)"
        " select 'report', 'study', 'study:' || id, 'study:' || id, '{}' from study",
    ],
)
async def test_what_is_not_finished_stays_however_old(world: World, tmp_path: Path, unfinished: str) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    async with connected(world.pool) as connection:
        await connection.execute(unfinished.encode())

    await grow_older(world, tmp_path, timedelta(days=5000))
    await purge(world, {**PIXELS, Kept.LEDGER: timedelta(days=4000)})

    assert await marks(world) == [(False, False)]
    assert len(files_of(tmp_path)) == 4


async def test_what_is_held_stays_until_the_hold_ends(world: World, tmp_path: Path) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    holds = PostgresHolds(world.pool, world.clock)
    report = await world.report()
    for name in (taken.resource["id"], f"Task/{taken.task_id}", f"DiagnosticReport/{report['id']}"):
        assert len(await holds.studies_of(name)) == 1
    await hold(f"Media/{taken.resource['id']}", holds, who="legal", why="")
    everything = {**PIXELS, Kept.LEDGER: timedelta(days=366)}

    await grow_older(world, tmp_path, timedelta(days=5000))
    await purge(world, everything)
    assert await marks(world) == [(False, False)]
    assert len(files_of(tmp_path)) == 4

    await unhold(f"Media/{taken.resource['id']}", holds, who="legal")
    await purge(world, everything)
    assert await world.images() == []
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("lifted", [("", "case 2", "case 3"), ("case 3", "", "case 2")])
async def test_what_is_held_for_several_reasons_stays_until_the_last_of_them_is_lifted(
    world: World, tmp_path: Path, lifted: tuple[str, ...]
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    holds, name = PostgresHolds(world.pool, world.clock), f"Media/{taken.resource['id']}"
    for reference in ("", "case 2", "case 3"):
        await hold(name, holds, who="legal", why=f"because of {reference}", reference=reference)
    assert (await hold(name, holds, who="somebody", why="else", reference="case 2")).count == 0
    assert [(each.reference, each.why) for each in await holds.standing()] == [
        ("", "because of "),
        ("case 2", "because of case 2"),
        ("case 3", "because of case 3"),
    ]
    everything = {**PIXELS, Kept.LEDGER: timedelta(days=366)}
    await grow_older(world, tmp_path, timedelta(days=5000))

    for number, reference in enumerate(lifted):
        await purge(world, everything)
        assert await marks(world) == [(False, False)]
        assert await as_older_versions_see_it(world) == 1
        assert (await unhold(name, holds, who="legal", reference=reference)).held == (number < 2)

    assert await holds.standing() == []
    await purge(world, everything)
    assert await world.images() == []
    assert files_of(tmp_path) == []


async def as_older_versions_see_it(world: World) -> int:
    """How many holds stand for a version from before 0009, which knows one a study."""
    async with connected(world.pool) as connection:
        found = await connection.execute("select count(*) from legal_hold where ended_at is null")
        row = await found.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_hold_that_comes_when_all_is_purged_says_that_nothing_is_left(world: World, tmp_path: Path) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=5000))

    class Late(PostgresHolds):
        async def studies_of(self, name: str) -> Sequence[str]:
            found = await super().studies_of(name)
            await purge(world, {Kept.LEDGER: timedelta(days=366)})
            return found

    with pytest.raises(NothingOfThatName, match="nothing is left to hold"):
        await hold(f"Media/{taken.resource['id']}", Late(world.pool, world.clock), who="legal", why="")


@pytest.mark.parametrize("kept", PIXELS)
async def test_what_is_held_before_its_file_went_keeps_it(world: World, tmp_path: Path, kept: Kept) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    (image,) = await world.images()
    await grow_older(world, tmp_path, timedelta(days=31))
    await world.ports.retention.purge(kept, [image.study_id], world.clock.now() - MONTH)

    await hold(f"Media/{taken.resource['id']}", PostgresHolds(world.pool, world.clock), who="legal", why="")
    await discard_condemned(world.ports)

    assert len(files_of(tmp_path)) == 4
    assert await marks(world) == [(False, False)]
    async with world.ports.ledger.transaction() as tx:
        report = await tx.resources.read("DiagnosticReport", (await tx.deliveries(image.study_id))[0].report_id)
        assert report is not None
        page = await tx.resources.read("Binary", report["presentedForm"][0]["url"].rpartition("/")[2])
    assert page is not None and blob_of(page) is not None


async def test_whoever_asks_for_purged_pixels_is_told_that_they_are_gone(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    report = (await relay.get("DiagnosticReport")).json()["entry"][0]["resource"]
    sheet = report["presentedForm"][0]["url"]
    photograph = f"Binary/{taken.resource['id']}"
    assert (await relay.get(sheet)).status_code == (await relay.get(photograph)).status_code == 200

    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)

    for url in (sheet, photograph):
        gone = await relay.get(url, headers={"Accept": "*/*"})
        (issue,) = gone.json()["issue"]
        assert (gone.status_code, issue["code"]) == (410, "deleted")
        assert issue["details"]["coding"][0]["code"] == "picture-purged"
    assert (await relay.get(f"Media/{taken.resource['id']}")).status_code == 200


async def test_a_media_without_pixels_is_corrected_with_its_bytes_alone_and_taken_back_without(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)
    media = (await relay.get(f"Media/{taken.resource['id']}")).json()

    refused = await relay.put(f"Media/{media['id']}", json={**media, "note": [{"text": "looked at"}]})
    assert (refused.status_code, refused.json()["issue"][0]["details"]["coding"][0]["code"]) == (422, "picture-purged")

    withdrawn = await relay.put(f"Media/{media['id']}", json={**media, "status": "entered-in-error"})
    assert withdrawn.status_code == 200
    await world.finish()
    assert (await world.report())["status"] == "entered-in-error"


async def test_the_same_bytes_after_their_purge_are_known_and_not_paid_again(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)

    (again,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()

    assert (await world.task(again.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    assert len(await world.at_ehr("DiagnosticReport")) == 1
    shown = await relay.get(f"Binary/{again.resource['id']}", headers={"Accept": "image/jpeg"})
    assert (shown.status_code, shown.content) == (200, EYE)

    await purge(world)  # they are young again ...
    assert (await marks(world))[0][0] is False
    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)  # ... and old once more
    assert files_of(tmp_path) == []


async def test_a_photograph_that_comes_late_revises_a_report_whose_pixels_are_gone(
    world: World, tmp_path: Path
) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)

    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    report = await world.report()
    assert "cannot be drawn again" in report["conclusion"]
    assert len(report["media"]) == 4  # two photographs, a drawing of the one that is here, and the one that the EHR has
    assert world.analyser.times_paid == 2
    assert len(await world.photographs()) == 2
    await purge(world)
    assert await marks(world) == [(True, True), (False, False)]
    assert (await world.ports.ledger.census()).parked == {}


async def test_a_withdrawal_after_the_purge_withdraws_the_report(world: World, tmp_path: Path) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world)

    await world.accept(in_error(photograph))
    await world.finish()
    assert (await world.report())["status"] == "entered-in-error"

    (anew,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    assert (await world.task(anew.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_bytes_of_two_studies_go_when_the_second_of_them_is_old(world: World, tmp_path: Path) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.accept(await a_photograph(world, EYE, basedOn=[{"reference": "ServiceRequest/78"}]))
    await world.finish()
    first, second = await world.images()

    await grow_older(world, tmp_path, timedelta(days=31), studies={first.study_id})
    await purge(world, {Kept.SOURCE: MONTH})
    assert [mark for mark, _ in await marks(world)] == [True, False]
    assert await world.ports.blobs.get(second.source.sha256) == EYE

    await grow_older(world, tmp_path, timedelta(days=31))
    await purge(world, {Kept.SOURCE: MONTH})
    assert not await world.ports.blobs.has(second.source.sha256)


@pytest.mark.parametrize("state", ["received", "prepared", "analysing", "parked"])
async def test_an_image_that_goes_on_keeps_its_pixels_whatever_was_purged_before(
    world: World, tmp_path: Path, state: str
) -> None:
    """As when code that knows of no purge lets a photograph go on that was withdrawn, purged, and sent anew."""
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    (image,) = await world.images()
    await grow_older(world, tmp_path, timedelta(days=31))
    for kept in (Kept.SOURCE, Kept.PREPARED):
        await world.ports.retention.purge(kept, [image.study_id], world.clock.now() - MONTH)
    async with connected(world.pool) as connection:
        await connection.execute("update image set state = %s", [state])

    await discard_condemned(world.ports)

    assert len(files_of(tmp_path)) == 4


class Distant(ObjectBlobs):
    """An object store far away: between the look at a file and its removal there is time for others.

    Attributes:
        meanwhile: what they do, once.
    """

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def discard(self, sha256: str, *, kept_before: datetime) -> int:
        at = obstore.head(self._store, f"{sha256[:2]}/{sha256}")
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        obstore.delete(self._store, at["path"])
        return at["size"]


async def test_bytes_that_come_again_while_they_are_discarded_are_sent_once_more_or_stay(
    world: World, tmp_path: Path
) -> None:
    """The one moment in which an object store cannot tell: the sender hears no, as long as its picture may be gone."""
    distant = Distant("memory:///", MemoryStore())
    world.ports = replace(world.ports, blobs=distant, records={})
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    accepting: list[asyncio.Task[list[Accepted]]] = []

    async def send_again() -> None:
        entry = await a_photograph(world, EYE)
        accepting.append(asyncio.create_task(world.accept(entry)))
        async with asyncio.timeout(5):  # until it waits for us
            while not await is_anybody_waiting(world):  # noqa: ASYNC110 - another transaction
                await asyncio.sleep(0.01)

    distant.meanwhile = send_again
    await purge(world, {Kept.SOURCE: MONTH})

    with pytest.raises(StoreUnavailable):
        await accepting[0]
    await world.accept(await a_photograph(world, EYE))
    (image,) = await world.images()
    await purge(world, {Kept.SOURCE: MONTH})
    assert await distant.has(image.source.sha256)
    assert await marks(world) == [(False, False)]


async def is_anybody_waiting(world: World) -> bool:
    """Whether a transaction waits for the lock of another one."""
    async with connected(world.pool) as connection:
        found = await connection.execute("select count(*) from pg_locks where not granted")
        row = await found.fetchone()
    return row is not None and row[0] > 0


async def test_bytes_that_somebody_is_about_to_accept_are_passed_over(world: World, tmp_path: Path) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    (image,) = await world.images()
    digest = image.source.sha256
    await grow_older(world, tmp_path, timedelta(days=31))
    await world.ports.retention.purge(Kept.SOURCE, [image.study_id], world.clock.now() - MONTH)

    async with world.ports.ledger.transaction() as tx:
        await make_sure([digest], tx, world.ports.blobs)
        await discard_condemned(world.ports)
        assert await world.ports.blobs.has(digest)

    await discard_condemned(world.ports)
    assert not await world.ports.blobs.has(digest)
    async with world.ports.ledger.transaction() as tx:
        with pytest.raises(StoreUnavailable):
            await make_sure([digest], tx, world.ports.blobs)

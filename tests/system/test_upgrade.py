"""The version before this one and this one, side by side, forth and back, with photographs in every state."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import httpx
import pytest
from tests.conftest import an_empty_database
from tests.system.faults.audit import all_of, audit, unfinished
from tests.system.faults.callers import Photograph, know_patients
from tests.system.versions import (
    MIGRATIONS,
    PIN,
    ROOT,
    TRIALS,
    Part,
    Town,
    Tree,
    a_town,
    new_tree,
    old_tree,
    picture,
    pinned,
    send,
    take_back,
    until,
)

from fundus_relay.adapters.database.schema import migrations
from fundus_relay.domain.states import (
    ACQUISITION_MOVES,
    DELIVERY_MOVES,
    IMAGE_MOVES,
    AcquisitionState,
    DeliveryState,
    ImageState,
)
from fundus_relay.pipeline.ports import Job
from fundus_relay.worker.engine import QUEUE_OF

pytestmark = [
    pytest.mark.slow,  # a killed worker's jobs are taken over after 18 s, lost uploads rest for 15, 30 processes start
    pytest.mark.timeout(900),
]

KNOWN = """
import json
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState, StudyState
from fundus_relay.worker.engine import QUEUE_OF
states = {"image": ImageState, "delivery": DeliveryState, "acquisition": AcquisitionState, "study": StudyState}
print(json.dumps({
    **{name: [str(state) for state in them] for name, them in states.items()},
    "queue": {str(kind): queue for kind, queue in QUEUE_OF.items()},
}))
"""
"""What a version knows, in its own words."""

STATES = """
    select 'image ' || state, count(*) from image group by 1
    union all select 'delivery ' || state, count(*) from delivery group by 1
    union all select 'study ' || state, count(*) from study group by 1
    union all select 'job ' || status::text, count(*) from procrastinate_jobs where task_name <> 'sweep' group by 1
    union all select 'put off', count(*) from image where state = 'prepared' and due_at is not null and reason <> ''
    union all select 'study_look', count(*) from study_look
    order by 1
"""

EVERY_STATE = {
    *(f"image {state}" for state in ImageState),
    *(f"delivery {state}" for state in DeliveryState),
    *("study collecting", "study reported", "job todo", "job doing", "put off"),
}

AWAY = 1_000_000
"""Answers of a party that is not to come back before it is told to."""


class Book:
    """What the senders were told, outside of the service."""

    def __init__(self) -> None:
        self.photographs: list[Photograph] = []
        self.withdrawn: list[str] = []
        self.refused: list[str] = []
        self.hidden: list[tuple[Path, Path]] = []
        self._numbers = count(1)
        self._patients = count(1)

    def a_patient(self) -> str:
        return f"p{next(self._patients)}"

    async def send(self, town: Town, patients: Sequence[str], *apis: Part) -> list[str]:
        """One photograph for each; ids of their Media."""
        told: list[str] = []
        news = [Photograph("", patient, patient, next(self._numbers)) for patient in patients]
        await know_patients(town.ehr, [each for each in news if each.patient not in self._known()])
        for at in range(0, len(news), 8):
            some = news[at : at + 8]
            ids = await asyncio.gather(
                *(send(each.noise, each.patient, apis[each.noise % len(apis)].url) for each in some)
            )
            for each, id in zip(some, ids, strict=True):
                each.name = id
                each.told.add(id)
            told += ids
        self.photographs += news
        return told

    async def send_damaged(self, town: Town, api: Part) -> None:
        patient, number = self.a_patient(), next(self._numbers)
        await know_patients(town.ehr, [Photograph("", patient, patient, number)])
        whole = picture(number)
        self.refused.append(await send(number, patient, api.url, data=whole[: len(whole) // 3] + b"\xff\xd9"))

    async def take_back(self, media_id: str, api: Part) -> None:
        await take_back(media_id, api.url)
        (gone,) = [each for each in self.photographs if each.name == media_id]
        self.photographs.remove(gone)
        self.withdrawn.append(gone.patient)

    def _known(self) -> set[str]:
        return {each.patient for each in self.photographs}


async def populate(town: Town, tree: Tree, api: Part, book: Book) -> dict[str, int]:
    """A hundred photographs in every state there is, and no worker any more; how many in which."""
    ids = await _populate(town, tree, api, book)
    assert len(ids) == 97  # and three that are no picture
    return {str(name): int(number) for name, number in await town.rows(STATES)}


async def _populate(town: Town, tree: Tree, api: Part, book: Book) -> list[str]:
    async def sent(patients: Sequence[str]) -> list[str]:
        return await book.send(town, patients, api)

    def patients(number: int) -> list[str]:
        return [book.a_patient() for _ in range(number)]

    here = "image where study_id in (select study_id from image where media_id = any(array[{}]))"

    def of(ids: Sequence[str], condition: str) -> str:
        return here.format(",".join(f"'{id}'" for id in ids)) + f" and {condition}"

    def deliveries(ids: Sequence[str], condition: str) -> str:
        studies = of(ids, "true").replace("image where", "select study_id from image where", 1)
        return f"delivery where study_id in ({studies}) and {condition}"

    worker = await town.worker(tree)
    done = await sent(patients(14) * 2)
    await town.until_count(14, deliveries(done, "state = 'confirmed'"))

    await town.fault("ehr", refused_status=422)
    refused = await sent(patients(4))
    await town.until_count(4, deliveries(refused, "state = 'parked'"))

    await town.fault("ehr", unavailable=AWAY)
    names = patients(12)
    undelivered = await sent(names)
    await town.until_count(12, deliveries(undelivered, "state = 'due' and reason <> ''"))
    more = await sent(names[:3])
    await town.until_count(3, deliveries(undelivered, "state = 'superseded'"))

    await town.fault("standin", stuck=14)
    stuck = await sent(patients(14))
    await town.until_count(14, of(stuck, "state = 'analysing'"))

    with worker.paused():
        lost = await sent(patients(3))
        await hide_pictures(town, lost, book)
    await town.until_count(3, of(lost, "state = 'parked'"))

    await town.fault("standin", endpoints=["getToken"], unavailable=AWAY)
    await town.ask("standin", "account", revoke_tokens=True)
    unsent = await sent(patients(17))
    for _ in range(3):
        await book.send_damaged(town, api)
    await town.until_count(17, of(unsent, "state = 'prepared' and reason <> ''"))
    for id in unsent[:3]:
        await book.take_back(id, api)
    await town.until_count(3, of(unsent[:3], "state = 'cancelled'"))
    await town.until_count(len(book.refused), "image where state = 'rejected'")

    await town.fault("standin", endpoints=["doAnalysis"], unavailable=0, latency_s=4)
    uploading = await sent(patients(4))
    await town.fault("ehr", delay_s=10)
    releasing = await town.start(tree, "release", "--reason", "record-unavailable")
    under_way = "(select 1 from delivery where state = 'writing' limit 1)"
    await town.until_count(1, f"image where state = 'sending' and exists {under_way}")
    worker.kill()  # in the middle of an upload, and of a write to the EHR
    assert await releasing.process.wait() == 0
    await worker.process.wait()
    waiting = await sent(patients(12))
    await town.fault("ehr", unavailable=AWAY)
    return [*done, *refused, *undelivered, *more, *stuck, *lost, *unsent, *uploading, *waiting]


async def hide_pictures(town: Town, ids: Sequence[str], book: Book) -> None:
    """Take them out of the blob store."""
    aside = town.folder / "aside"
    aside.mkdir(exist_ok=True)
    for (sha256,) in await town.rows("select source_sha256 from image where media_id = any(%s)", list(ids)):
        (path,) = town.blobs_of(sha256)
        book.hidden.append((path, aside / path.name))
        path.rename(aside / path.name)


async def finish(town: Town, tree: Tree, book: Book) -> None:
    """Mend everything outside, release what is parked as an operator does, and wait until nothing waits."""
    await town.fault("ehr")
    await town.outside(town.trees["new"], "standin")  # and all that was stuck goes on
    for path, aside in book.hidden:
        aside.rename(path)
    book.hidden.clear()
    await town.run(tree, "release", "--reason", "record-unavailable")  # else the longest pause is waited for

    async def is_at_rest() -> bool:
        left = await asyncio.to_thread(unfinished, town.database_url)
        if any(" parked " in each for each in left):
            await town.run(tree, "release", "--all", "--pay-again")
        return not left

    await until("nothing waits", is_at_rest, within_s=120)


async def wrong(town: Town, book: Book) -> tuple[list[str], str]:
    """What was lost, or is there twice, or was paid too often; and the counts."""
    found = await audit(book.photographs, town.ehr, town.standin, town.database_url)
    told = f"{found.images} images, {found.paid} paid, {found.counted} counted as possibly double"
    async with httpx.AsyncClient(trust_env=False) as client:
        reports = await all_of(client, town.ehr, "DiagnosticReport")
    subjects = {each["subject"]["reference"] for each in reports if each["status"] != "entered-in-error"}
    untrue = [f"{each} has a report" for each in book.withdrawn if f"Patient/{each}" in subjects]
    return [*found.wrong, *untrue], told


async def test_an_upgrade_and_a_rollback_lose_nothing_and_pay_nothing_twice(
    postgres_url: str, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    pinned()
    async with an_empty_database(postgres_url) as url, a_town(tmp_path, url) as town:
        old, new, book = town.trees["old"], town.trees["new"], Book()

        # the version before, with its own schema and queue
        old_api = await town.api(old)
        states = await populate(town, old, old_api, book)
        record_property("states at the upgrade", _told(states))
        assert states.keys() >= EVERY_STATE, EVERY_STATE - states.keys()

        # the first phase, and both versions side by side
        code, said = await town.run(new, "migrate", "--check")
        assert code == 3 and "post 9003_post_trial.sql" in said
        code, said = await town.run(new, "migrate")
        assert code == 0 and "9002_pre_index.sql" in said.splitlines() and "post, once" in said
        await town.fault("standin", latency_s=0)
        await book.send(town, [book.a_patient() for _ in range(3)], old_api)
        old_worker, new_worker, new_api = await asyncio.gather(town.worker(old), town.worker(new), town.api(new))
        await book.send(town, [book.a_patient() for _ in range(6)], old_api, new_api)
        await until("both work", lambda: min(each.times("moved") for each in (old_worker, new_worker)) >= 6)
        code, said = await town.run(new, "migrate", "--phase", "post")
        assert code == 4 and "older versions are connected: 'fundus-relay'" in said
        assert await asyncio.gather(old_worker.stopped(), old_api.stopped()) == [0, 0]
        await finish(town, new, book)
        found, told = await wrong(town, book)
        record_property("after the upgrade", told)
        assert not found
        assert await new_worker.stopped() == 0

        # the new version at work, and the version before again, alone
        states = await populate(town, new, new_api, book)
        record_property("states at the rollback", _told(states))
        assert states.keys() >= EVERY_STATE, EVERY_STATE - states.keys()
        assert await _unknown_to(await old.says(KNOWN), town) == []
        old_api, old_worker = await asyncio.gather(town.api(old), town.worker(old))
        assert await new_api.stopped() == 0
        await book.send(town, [book.a_patient() for _ in range(3)], old_api)
        await finish(town, old, book)
        found, told = await wrong(town, book)
        record_property("after the rollback", told)
        assert not found
        assert len(book.photographs) >= 200

        # the second phase, once nobody wants to go back
        assert await asyncio.gather(old_worker.stopped(), old_api.stopped()) == [0, 0]
        new_api = await town.api(new)
        code, said = await town.run(new, "migrate", "--phase", "post")
        assert code == 0 and "9003_post_trial.sql" in said.splitlines()
        assert (await town.run(new, "migrate", "--check"))[0] == 0
        code, said = await town.run(Tree("this", ROOT), "serve", "--only", "worker")  # without the trials it is older
        assert code == 1 and "is too old for the database" in said
        await book.send(town, [book.a_patient()], new_api)


def _told(states: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in states.items())


async def _unknown_to(known: dict[str, list[str]], town: Town) -> list[str]:
    """What is in the tables that the version before would not know."""
    found = [
        f"{table} {state}"
        for table in ("image", "delivery", "study", "acquisition")
        for (state,) in await town.rows(f"select distinct state from {table}")  # noqa: S608 - of constants
        if state not in known[table]
    ]
    jobs = await town.rows("select distinct task_name, queue_name from procrastinate_jobs where task_name <> 'sweep'")
    queues = dict(known["queue"])
    return found + [f"job {kind} in {queue}" for kind, queue in jobs if queues.get(kind) != queue]


async def test_what_this_version_writes_is_known_to_the_version_before(tmp_path: Path) -> None:
    known = await old_tree(tmp_path / "old").says(KNOWN)
    moves = ((ImageState, IMAGE_MOVES), (DeliveryState, DELIVERY_MOVES), (AcquisitionState, ACQUISITION_MOVES))
    subjects = ("image", "delivery", "acquisition")

    for subject, (states, table) in zip(subjects, moves, strict=True):
        reached = {next(iter(states)), *(after for each in table.values() for after in each)}
        assert {str(state) for state in reached} <= set(known[subject]), (
            "a new state is first read, a release later written"
        )
    for kind in Job:
        if kind in known["queue"]:
            assert QUEUE_OF[kind] == known["queue"][kind], "no old worker would look into another queue"
        else:
            assert QUEUE_OF[kind] not in known["queue"].values(), "old workers would fail this kind of job"


def test_what_was_released_is_not_changed_and_what_is_new_has_higher_numbers() -> None:
    commit, number = PIN.read_text().split()[-2:]
    pinned()
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", f"{commit}:{MIGRATIONS}"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    released = [name for name in listed.stdout.split() if name.endswith(".sql")]

    assert released and int(released[-1][:4]) == int(number)
    for each in migrations():
        if each.name in released:
            said = subprocess.run(
                ["git", "show", f"{commit}:{MIGRATIONS}/{each.name}"], cwd=ROOT, capture_output=True, check=True
            )
            assert each.sql.encode() == said.stdout
        else:
            assert each.number > int(number)
    assert set(released) <= {each.name for each in migrations()}


def test_the_trials_are_newer_than_everything(tmp_path: Path) -> None:
    new = new_tree(tmp_path / "new")

    assert sorted(path.name for path in (new.path / MIGRATIONS).glob("*.sql"))[-len(TRIALS) :] == sorted(TRIALS)

"""The whole journey in one process: real PostgreSQL, real blobs, real translation; the parties outside are fakes.

Jobs are run by hand, in the order in which they were enqueued, so that a test decides what happens when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from tests.fakes.analyser import FakeAnalyser
from tests.fakes.study_archive import FakeStudyArchive

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Connection, Pool, connected
from fundus_relay.adapters.database.retention import PostgresRetention
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.domain.errors import Unavailable
from fundus_relay.domain.policy import AmbiguousUpload, Precheck
from fundus_relay.domain.values import Accepted, Entry, Image, StoredPicture, Submitted
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.imaging.format import examine
from fundus_relay.pipeline.accept import accept
from fundus_relay.pipeline.acquire import acquire
from fundus_relay.pipeline.delivery import deliver
from fundus_relay.pipeline.journey import advance_image
from fundus_relay.pipeline.poll import poll
from fundus_relay.pipeline.ports import Job, Ports
from fundus_relay.pipeline.rules import Rules
from fundus_relay.pipeline.spending import CreditWatch
from fundus_relay.pipeline.study import report_study
from fundus_relay.pipeline.urgency import NOBODY, Sender
from fundus_relay.settings import Destination

RELAY = "http://relay.test/fhir"
"""Base of our own endpoint."""

RIGHT = {"coding": [{"system": "http://snomed.info/sct", "code": "362502000"}]}
LEFT = {"coding": [{"system": "http://snomed.info/sct", "code": "362503005"}]}


class ManualClock:
    """A clock that a test moves, and who waits by it.

    Attributes:
        meanwhile: what happens while somebody waits.
    """

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def wait(self, span: timedelta) -> None:
        self.advance(span)
        if self.meanwhile is not None:
            await self.meanwhile()

    def now(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> None:
        self._now += step


@dataclass
class World:
    """Ports, and the queue that the test empties."""

    ports: Ports
    clock: ManualClock
    queue: deque[tuple[Job, str]]
    pool: Pool
    analyser: FakeAnalyser
    archive: FakeStudyArchive
    ehr: httpx.AsyncClient
    rules: Rules = field(
        default_factory=lambda: Rules(
            public_url=RELAY,
            organization="Test clinic",
            retry_horizon={"ehr": timedelta(hours=72)},
            ambiguous_upload=AmbiguousUpload.RESEND,
            precheck=Precheck.OFF,  # what tests send is rarely of an eye
        )
    )

    async def accept(
        self, *entries: Entry, bundle: str | None = "transaction", sender: Sender = NOBODY
    ) -> list[Accepted]:
        ports = self.ports
        answers = await accept(Submitted(entries, bundle), ports.ledger, ports.blobs, ports.archive, self.clock, sender)
        return [answer for answer in answers if isinstance(answer, Accepted)]

    async def run_jobs(self) -> None:
        """Run everything that is enqueued now and what follows from it, each job once."""
        while self.queue:
            job, id = self.queue.popleft()
            await self.run(job, id)

    async def run(self, job: Job, id: str) -> None:
        match job:
            case Job.ACQUISITION:
                await acquire(id, self.ports, self.rules)
            case Job.IMAGE:
                await advance_image(id, self.ports, self.rules)
            case Job.STUDY:
                assert isinstance(self.ports.ledger, PostgresLedger)
                async with self.ports.ledger.looking_at(id):  # as the worker does
                    await report_study(id, self.ports, self.rules)
            case Job.DELIVERY:
                await deliver(id, self.ports, self.rules)

    async def finish(self, *, rounds: int = 5, step: timedelta = timedelta(minutes=3)) -> None:
        """Let time pass and poll until nothing more happens."""
        for _ in range(rounds):
            await self.run_jobs()
            self.clock.advance(step)
            await poll(self.ports, self.rules)
            await self.reconcile()
            await self.look_after_credits()
        await self.run_jobs()

    async def look_after_credits(self) -> None:
        """As a process does that has just become leader; an analyser that is away is asked again later."""
        with suppress(Unavailable):
            await CreditWatch(self.ports, self.rules).look()

    async def reconcile(self) -> None:
        self.queue.extend(await self.ports.ledger.overdue(self.clock.now(), 100))

    async def image(self, image_id: str) -> Image:
        async with self.ports.ledger.transaction() as tx:
            image = await tx.image(image_id)
        assert image is not None
        return image

    async def images(self) -> list[Image]:
        """All, in order of arrival."""
        async with connected(self.pool) as connection:
            rows = await (await connection.execute("select id::text from image order by arrival")).fetchall()
        return [await self.image(row[0]) for row in rows]

    async def reasons(self) -> list[str]:
        """Why anything waited, ever, in order."""
        async with connected(self.pool) as connection:
            found = await connection.execute("select reason from transition where reason is not null order by id")
            return [row[0] for row in await found.fetchall()]

    async def photographs(self) -> list[dict[str, Any]]:
        """Media at the EHR that were sent or fetched, not those drawn for people."""
        return [each for each in await self.at_ehr("Media") if not is_overlay(each)]

    async def at_ehr(self, kind: str, **criteria: str) -> list[dict[str, Any]]:
        """What the EHR holds."""
        found = (await self.ehr.get(f"/fhir/{kind}", params={"_count": "200", **criteria})).json()
        return [entry["resource"] for entry in found.get("entry", [])]

    async def report(self) -> dict[str, Any]:
        """The only report at the EHR."""
        (report,) = await self.at_ehr("DiagnosticReport")
        return report

    async def observations(self, code: str) -> list[dict[str, Any]]:
        """Observations at the EHR with this code of ours."""
        return [
            each
            for each in await self.at_ehr("Observation")
            if any(coding["code"] == code for coding in each["code"]["coding"])
        ]

    async def own(self, kind: str) -> list[dict[str, Any]]:
        """Resources at our own endpoint."""
        async with self.ports.ledger.transaction() as tx:
            return list((await tx.resources.search(kind, [])).matches)

    async def know_credits(self) -> None:
        """As if the account's count had come with an earlier token."""
        async with self.ports.ledger.transaction() as tx:
            await tx.account.confirm_upload(self.analyser.remaining)

    async def ehr_fails(self, **faults: Any) -> None:
        await self.ehr.post("/admin/faults", json=faults)

    async def task(self, task_id: str | None) -> Mapping[str, Any]:
        assert task_id is not None
        async with self.ports.ledger.transaction() as tx:
            task = await tx.resources.read("Task", task_id)
        assert task is not None
        return task


def a_world(pool: Pool, blobs: Path, ehr: httpx.AsyncClient) -> World:
    """A world with the EHR that this client's base URL leads to."""
    clock, queue, analyser = ManualClock(), deque[tuple[Job, str]](), FakeAnalyser()
    archive, kept = FakeStudyArchive(), DirectoryBlobs(blobs)

    async def keep_count(told: int) -> None:
        async with connected(pool) as connection:
            await connection.execute("update account set remaining = %s, remaining_at = %s", [told, clock.now()])

    analyser.when_counted = keep_count

    async def enqueue(_: Connection, jobs: Sequence[tuple[Job, str]], *, is_first: bool = False) -> None:
        queue.extend(job for job in jobs if job not in queue)

    ports = Ports(
        ledger=PostgresLedger(pool, clock, enqueue),
        blobs=kept,
        archive=archive,
        analyser=analyser,
        records={"ehr": FhirTransactionRecord(Destination(base_url=str(ehr.base_url.join("fhir"))), ehr, kept)},
        clock=clock,
        retention=PostgresRetention(pool, clock),
    )
    return World(ports, clock, queue, pool, analyser, archive, ehr)


async def a_photograph(world: World, picture: bytes, *, method: str = "POST", **media: Any) -> Entry:
    """A validated Media with that picture in the blob store; override what matters."""
    sha256 = await world.ports.blobs.put(picture)
    resource: dict[str, Any] = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/demo-patient"},
        "createdDateTime": "2026-11-23T09:30:00+00:00",
        "bodySite": RIGHT,
        "content": {"contentType": "image/jpeg"},
        **media,
    }
    return Entry(
        {key: value for key, value in resource.items() if value is not None},
        method=method,
        picture=StoredPicture(sha256, "image/jpeg", len(picture), examine(picture).size),
        element="Media",
    )


def reason(task: Any) -> str | None:
    """Code of why a Task waits, or has no result."""
    coding = task.get("statusReason", {}).get("coding", [{}])
    return coding[0].get("code")

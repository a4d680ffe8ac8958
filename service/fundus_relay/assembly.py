"""Where settings become adapters, and adapters become a running service. Nothing is imported that is not needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from fundus_relay import metrics
from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.analyser.turns import TurnsEverywhere
from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.callers import FileOfCallers, Unusable
from fundus_relay.adapters.database.clock import DatabaseClock, database_clock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.adapters.database.retention import PostgresRetention
from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.adapters.patience import patiently
from fundus_relay.domain.credits import Floors
from fundus_relay.domain.policy import Carriage
from fundus_relay.environment import NotConfigured
from fundus_relay.pipeline.ports import Blobs, Job, Ports
from fundus_relay.pipeline.receive import Limits
from fundus_relay.pipeline.rules import Rules
from fundus_relay.settings import Settings, Storage
from fundus_relay.tracing import Tracer

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a process of the service works with."""

    settings: Settings
    pool: Pool
    ledger: PostgresLedger
    ports: Ports
    rules: Rules


@asynccontextmanager
async def opened_ledger(
    settings: Settings | Storage, stop: asyncio.Event | None = None
) -> AsyncIterator[tuple[PostgresLedger, Pool, DatabaseClock]]:
    """Our tables, the connections to them, and their clock; what older versions can live with is migrated first.

    Args:
        stop: until it is set, what is not there is waited for; without it StoreUnavailable is raised.

    Raises: ToldToStop; CannotMigrate when the database is for newer versions.
    """
    from fundus_relay.worker.engine import Engine
    from fundus_relay.worker.schema import engine_schema

    async with AsyncExitStack() as stack:
        url = database_url(settings, stack)
        await _patiently(lambda: migrate(url, engine_schema()), stop)
        pool = await stack.enter_async_context(open_pool(url, size=settings.database.pool_size))
        clock = await _patiently(lambda: stack.enter_async_context(database_clock(pool)), stop)
        yield PostgresLedger(pool, clock, Engine().enqueue), pool, clock


@asynccontextmanager
async def opened(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Service]:
    """The service's parts, connected. `stop` as `opened_ledger`."""
    async with AsyncExitStack() as stack:
        blobs = await _patiently(partial(blob_store, settings), stop)
        ledger, pool, clock = await stack.enter_async_context(opened_ledger(settings, stop))
        outside = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=settings.record.timeout.total_seconds())
        )
        turns = TurnsEverywhere(pool, clock, settings.analyser.concurrency, settings.analyser.gap)
        analyser = await stack.enter_async_context(NetraAnalyser(settings.analyser, TokenRow(pool), clock, turns=turns))
        tracer = await stack.enter_async_context(_tracer(settings, clock))
        archive = await stack.enter_async_context(DicomwebArchive(settings.acquisition.archives, clock))
        ports = Ports(
            ledger=ledger,
            blobs=blobs,
            archive=archive,
            analyser=analyser,
            records={settings.record.name: FhirTransactionRecord(settings.record, outside, blobs)},
            clock=clock,
            tracer=tracer,
            retention=PostgresRetention(pool, clock),
        )
        yield Service(settings, pool, ledger, ports, _rules(settings))


async def _patiently(attempt: Callable[[], Awaitable[T]], stop: asyncio.Event | None) -> T:
    return await attempt() if stop is None else await patiently(attempt, stop)


def database_url(settings: Settings | Storage, stack: AsyncExitStack) -> str:
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    return stack.enter_context(embedded_postgres(settings.data_dir / "postgresql"))


async def blob_store(settings: Settings | Storage) -> Blobs:
    """Where pictures and pages lie. Raises StoreUnavailable."""
    url = settings.blobs.url or str(settings.data_dir / "blobs")
    if urlsplit(url).scheme not in {"s3", "gs", "az"}:
        return DirectoryBlobs(Path(url))
    from fundus_relay.adapters.object_blobs import ObjectBlobs

    return ObjectBlobs(url)


@asynccontextmanager
async def _tracer(settings: Settings, clock: DatabaseClock) -> AsyncIterator[Tracer]:
    if settings.traces.endpoint is None:
        yield Tracer()
        return
    from fundus_relay.adapters.traces import exported

    async with exported(settings.traces, clock.now) as tracer:
        yield tracer


def _rules(settings: Settings) -> Rules:
    return Rules(
        public_url=_public_url(settings),
        organization=settings.record.organization,
        retry_horizon={settings.record.name: settings.record.retry_horizon},
        sheet=settings.record.pdf is not Carriage.NONE,
        overlays=settings.record.overlays is not Carriage.NONE,
        poll_interval=settings.analyser.poll_interval,
        give_up_after=settings.analyser.give_up_after,
        floors=Floors(settings.analyser.credits_floor, settings.analyser.backfill_floor),
        ambiguous_upload=settings.analyser.ambiguous_upload,
        precheck=settings.analyser.precheck,
        modalities=settings.acquisition.modalities,
        other_modalities=settings.acquisition.other_modalities,
        sop_classes=frozenset(settings.acquisition.sop_classes),
        max_instance_bytes=settings.acquisition.max_instance_bytes,
        max_pixels=settings.intake.max_pixels,
        wait_for_late=settings.acquisition.wait_for_late,
        acquisition_horizon=settings.acquisition.horizon,
    )


def _public_url(settings: Settings) -> str:
    http = settings.http
    return (http.public_url or f"http://{http.host}:{http.port}/fhir").rstrip("/")


async def run(service: Service, stop: asyncio.Event, **how: Any) -> None:  # Any: run_worker's keywords
    """Do the durable work until `stop` is set."""
    from fundus_relay.pipeline.acquire import acquire
    from fundus_relay.pipeline.collect import collect
    from fundus_relay.pipeline.delivery import deliver
    from fundus_relay.pipeline.journey import advance_image
    from fundus_relay.pipeline.poll import poll
    from fundus_relay.pipeline.purge import Purge
    from fundus_relay.pipeline.spending import CreditWatch
    from fundus_relay.pipeline.study import report_study
    from fundus_relay.worker.runner import run_worker

    ports, rules = service.ports, service.rules

    async def image(image_id: str) -> None:
        await advance_image(image_id, ports, rules)

    async def study(study_id: str) -> None:
        await report_study(study_id, ports, rules)

    async def delivery(delivery_id: str) -> None:
        await deliver(delivery_id, ports, rules)

    async def ask() -> None:
        await poll(ports, rules)

    async def discard() -> None:
        await collect(ports)

    async def acquisition(acquisition_id: str) -> None:
        await acquire(acquisition_id, ports, rules)

    handlers = {Job.ACQUISITION: acquisition, Job.IMAGE: image, Job.STUDY: study, Job.DELIVERY: delivery}
    ages = service.settings.retention.ages
    credits, purging = CreditWatch(ports, rules).look, Purge(ports, ages)
    metrics.retention_classes.set(len(ages))

    async def purge() -> None:
        await purging.round()

    await run_worker(
        service.pool, service.ledger, ports.clock, handlers, ask, discard, purge, stop, credits=credits, **how
    )


def callers(settings: Settings) -> FileOfCallers | None:
    """Who may call at the FHIR endpoint; None for everybody.

    Raises: NotConfigured when the file of tokens cannot be used, or when strangers could call and nobody wanted that.
    """
    access = settings.access
    if access.tokens is not None:
        try:
            return FileOfCallers(access.tokens)
        except Unusable as why:
            raise NotConfigured(f"FUNDUS_RELAY_ACCESS__TOKENS: the file {why}") from why
    if _is_loopback(settings.http.host):
        return None
    if not access.open:
        raise NotConfigured(
            "FUNDUS_RELAY_ACCESS__TOKENS: is required when FUNDUS_RELAY_HTTP__HOST is no loopback address, since"
            " whoever reaches it could read and write; `fundus-relay token` makes one. Behind a gateway that knows its"
            " callers, FUNDUS_RELAY_ACCESS__OPEN=true lets everybody in"
        )
    log.warning("open-to-everybody", extra={"port": settings.http.port})
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def answer(service: Service, stop: asyncio.Event, let_in: FileOfCallers | None = None) -> None:
    """Answer at the FHIR endpoint until `stop` is set.

    Args:
        let_in: who may call; everybody without.

    Raises: CannotListen.
    """
    from fundus_relay.api.app import application
    from fundus_relay.api.server import TAKING_LEAVE_S, listen

    settings = service.settings
    app = application(
        ledger=service.ledger,
        blobs=service.ports.blobs,
        archive=HttpImageArchive(settings.intake.image_sources, settings.intake.private_networks),
        studies=service.ports.archive,
        clock=service.ports.clock,
        limits=Limits(max_picture_bytes=settings.intake.max_picture_bytes, max_pixels=settings.intake.max_pixels),
        max_body_bytes=settings.intake.max_body_bytes,
        public_url=settings.http.public_url,
        silence=settings.http.silence,
        ehr_urls=(settings.record.base_url, *settings.record.aliases),
        old_after=settings.intake.backfill_after,
        callers=let_in,
        tracer=service.ports.tracer,
    )
    await listen(app, settings.http, stop, leave_s=TAKING_LEAVE_S)

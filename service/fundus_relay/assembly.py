"""Where settings become adapters, and adapters become a running service. Nothing is imported that is not needed."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
import uvloop

from fundus_relay import telemetry
from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.domain.errors import RelayError
from fundus_relay.environment import read
from fundus_relay.pipeline.operator import Released, release_all
from fundus_relay.pipeline.operator import release as release_one
from fundus_relay.pipeline.ports import Blobs, Census, Job, Parked, Ports, PutOff
from fundus_relay.pipeline.receive import Limits
from fundus_relay.pipeline.rules import Rules
from fundus_relay.settings import Http, Settings

log = logging.getLogger(__name__)

STOP_WITHIN_S = 25


class Failed(Exception):
    """A command did not do what it was asked for; its text says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a process of the service works with."""

    settings: Settings
    pool: Pool
    ledger: PostgresLedger
    ports: Ports
    rules: Rules


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """The service's parts, connected; the database is migrated first."""
    from fundus_relay.worker.engine import Engine
    from fundus_relay.worker.schema import engine_schema

    async with AsyncExitStack() as stack:
        url = _database_url(settings, stack)
        await migrate(url, engine_schema())
        pool = await stack.enter_async_context(open_pool(url, size=settings.database.pool_size))
        clock = SystemClock()
        ledger = PostgresLedger(pool, clock, Engine().enqueue)
        outside = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=settings.record.timeout.total_seconds())
        )
        analyser = await stack.enter_async_context(NetraAnalyser(settings.analyser, TokenRow(pool), clock))
        ports = Ports(
            ledger=ledger,
            blobs=_blobs(settings),
            analyser=analyser,
            records={settings.record.name: FhirTransactionRecord(settings.record, outside)},
            clock=clock,
        )
        yield Service(settings, pool, ledger, ports, _rules(settings))


def _database_url(settings: Settings, stack: AsyncExitStack) -> str:
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    return stack.enter_context(embedded_postgres(settings.data_dir / "postgresql"))


def _blobs(settings: Settings) -> Blobs:
    url = settings.blobs.url or str(settings.data_dir / "blobs")
    if urlsplit(url).scheme not in {"s3", "gs", "az"}:
        return DirectoryBlobs(Path(url))
    from fundus_relay.adapters.object_blobs import ObjectBlobs

    return ObjectBlobs(url)


def _rules(settings: Settings) -> Rules:
    return Rules(
        public_url=_public_url(settings),
        organization=settings.record.organization,
        retry_horizon={settings.record.name: settings.record.retry_horizon},
        poll_interval=settings.analyser.poll_interval,
        give_up_after=settings.analyser.give_up_after,
        ambiguous_upload=settings.analyser.ambiguous_upload,
    )


def _public_url(settings: Settings) -> str:
    http = settings.http
    return (http.public_url or f"http://{http.host}:{http.port}/fhir").rstrip("/")


# ------------------------------------------------------------------------------------------------------------- serve


def serve(only: str | None = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    Args:
        only: `api` or `worker`; both without it.
    """
    settings = read(Settings)
    telemetry.configure(settings.log_level)
    uvloop.run(_serve(settings, only))


async def _serve(settings: Settings, only: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with opened(settings) as service:
            parts: list[Coroutine[Any, Any, None]] = []  # Any: what a coroutine is sent, which is nothing
            if only != "worker":
                parts.append(_serve_api(service, stop))
            if only != "api":
                parts.append(run(service, stop))
            log.info("started", extra={"part": only or "all", "port": settings.http.port})
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part)
    except* RelayError as several:
        why = several.exceptions[0]
        raise Failed(str(why)) from why
    except* Failed as several:
        raise Failed(str(several.exceptions[0])) from several
    log.info("stopped", extra={"part": only or "all"})


async def run(service: Service, stop: asyncio.Event, **how: Any) -> None:  # Any: run_worker's keywords
    """Do the durable work until `stop` is set."""
    from fundus_relay.pipeline.collect import collect
    from fundus_relay.pipeline.delivery import deliver
    from fundus_relay.pipeline.journey import advance_image
    from fundus_relay.pipeline.poll import poll
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

    handlers = {Job.IMAGE: image, Job.STUDY: study, Job.DELIVERY: delivery}
    await run_worker(service.pool, service.ledger, ports.clock, handlers, ask, discard, stop, **how)


async def _serve_api(service: Service, stop: asyncio.Event) -> None:
    from fundus_relay.api.app import application

    settings = service.settings
    app = application(
        ledger=service.ledger,
        blobs=service.ports.blobs,
        archive=HttpImageArchive(settings.intake.image_sources, settings.intake.private_networks),
        clock=service.ports.clock,
        limits=Limits(max_picture_bytes=settings.intake.max_picture_bytes, max_pixels=settings.intake.max_pixels),
        max_body_bytes=settings.intake.max_body_bytes,
        public_url=settings.http.public_url,
        silence=settings.http.silence,
        ehr_urls=(settings.record.base_url, *settings.record.aliases),
    )
    await listen(app, settings.http, stop)


async def listen(app: Any, http: Http, stop: asyncio.Event) -> None:  # Any: an ASGI application
    """Answer until `stop` is set, then finish what is under way. Sets `stop` when the server ends by itself."""
    from fundus_relay.api.silence import CallerInTime

    config = uvicorn.Config(
        app,
        http=CallerInTime,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=http.max_connections,
        timeout_keep_alive=ceil(http.silence.total_seconds()),
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = _Server(config)
    if hasattr(app, "state"):
        app.state.connections = server.server_state.connections
    with _bound(http.host, http.port) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        waiting.cancel()
        stop.set()
        await serving


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as why:
        raise Failed(f"cannot listen on {host}:{port}: {why.strerror}") from why
    # asyncio sets this on sockets of its own making only; without it an answer waits for the caller's delayed ACK
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Server(uvicorn.Server):
    """A server that leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


# ---------------------------------------------------------------------------------------------------------- operator


def migrate_database() -> None:
    """Bring the tables up to date."""
    settings = _of_operator()

    async def apply() -> None:
        from fundus_relay.worker.schema import engine_schema

        async with AsyncExitStack() as stack:
            for name in await migrate(_database_url(settings, stack), engine_schema()):
                print(name)

    _do(apply())


def show_parked() -> None:
    """Print what waits for a person, what waits by itself, and the account, as one JSON object a line."""
    settings = _of_operator()

    async def show() -> None:
        async with opened(settings) as service:
            for parked in await service.ledger.parked():
                _print(parked)
            for put_off in await service.ledger.put_off(service.ports.clock.now()):
                _print(put_off)
            _print(await service.ledger.census())

    _do(show())


def release(id: str | None, *, reason: str | None, pay_again: bool) -> None:
    """Let something that waits go on.

    Args:
        id: of one; without it all that is parked, or that is parked or waits for `reason`.
    """
    settings = _of_operator()

    async def let_go() -> None:
        async with opened(settings) as service:
            ledger, clock = service.ledger, service.ports.clock
            if id is not None:
                await release_one(id, ledger, clock, pay_again=pay_again)
                return
            released = await release_all(ledger, clock, reason=reason, pay_again=pay_again)
            _print(released)
            if released.left:
                raise Failed(f"{released.left} may have been paid; say --pay-again to send them anew")
            if reason and not released.count:
                raise Failed(f"nothing waits for the reason {reason}")

    _do(let_go())


def _of_operator() -> Settings:
    """Settings of a command whose answer is on standard output; the log is for what goes wrong meanwhile."""
    settings = read(Settings)
    telemetry.configure("ERROR")
    return settings


def _print(row: Parked | PutOff | Census | Released) -> None:
    print(json.dumps(asdict(row), default=str))


def _do(work: Coroutine[Any, Any, None]) -> None:  # Any: what a coroutine is sent, which is nothing
    try:
        asyncio.run(work)
    except RelayError as why:
        raise Failed(f"{why.code}: {why}") from why


# ------------------------------------------------------------------------------------------------------------- laptop


def serve_standin(host: str, port: int, state: Path | None) -> None:
    """The stand-in for the analyser."""
    try:
        from fundus_relay.standin.app import standin
        from fundus_relay.standin.settings import StandinSettings
    except ImportError as why:
        raise Failed(f"the stand-in needs the extra `standin` ({why.name} is not installed)") from why
    telemetry.configure("INFO")
    settings = read(StandinSettings)
    _serve_alone(standin(settings.model_copy(update={"state": state}) if state else settings), host, port)


def serve_ehr(host: str, port: int, state: Path | None) -> None:
    """The demonstration EHR."""
    from fundus_relay.demonstration.ehr import demonstration_ehr

    telemetry.configure("INFO")
    _serve_alone(demonstration_ehr(state), host, port)


def _serve_alone(app: Any, host: str, port: int) -> None:  # Any: an ASGI application
    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await listen(app, Http(host=host, port=port), stop)

    asyncio.run(until_stopped())


def up(data_dir: Path) -> None:
    """Service, stand-in and demonstration EHR until SIGTERM."""
    from fundus_relay.demonstration.stack import LocalPorts, StackFailed, keep_up

    try:
        keep_up(read(LocalPorts), data_dir)
    except StackFailed as why:
        raise Failed(f"{why}; everything is stopped") from why


def demo(image: Path | None, out: Path) -> None:
    """One run of the whole line."""
    from fundus_relay.demonstration.demo import DemoFailed, demonstrate
    from fundus_relay.demonstration.stack import StackFailed

    try:
        demonstrate(image, out)
    except (DemoFailed, StackFailed, OSError) as why:
        raise Failed(str(why)) from why

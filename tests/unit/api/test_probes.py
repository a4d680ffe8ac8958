"""What the probes make of what the event loop notes, and that they answer while it notes nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from fundus_relay.api.probes import ASKED_WITHIN_S, HANGS_AFTER_S, LOOKED_WITHIN_S, MOST_AT_ONCE, Health, probes
from fundus_relay.api.server import CannotListen


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.fixture
def client(health: Health) -> Iterator[httpx.Client]:
    """Of the probes, from the thread that would note things: nobody turns meanwhile."""
    with (
        probes("127.0.0.1", 0, health, lambda: b"fundus_relay_x 1\n") as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as opened,
    ):
        yield opened


def test_a_loop_that_does_not_turn_is_told_and_a_database_that_is_away_is_no_reason_to_restart(
    health: Health, clock: Clock, client: httpx.Client
) -> None:
    health.looked("the database does not answer")
    assert client.get("/livez").status_code == 200

    clock.now_s += HANGS_AFTER_S + 1
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").status_code == 503

    health.turned()
    assert client.get("/livez").status_code == 200


def test_ready_is_who_saw_the_database_lately_and_is_not_being_stopped(
    health: Health, clock: Clock, client: httpx.Client
) -> None:
    told = [client.get("/readyz")]
    health.looked("")
    told.append(client.get("/readyz"))
    clock.now_s += LOOKED_WITHIN_S + 1
    told.append(client.get("/readyz"))
    health.looked("")
    told.append(client.get("/readyz"))
    health.looked("the database is not migrated: 0001")
    told.append(client.get("/readyz"))
    health.looked("")
    health.drain()
    told.append(client.get("/readyz"))

    assert [each.status_code for each in told] == [503, 200, 503, 200, 503, 503]
    assert "not migrated" in told[4].text
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("HEAD", "/livez", 200),
        ("GET", "/livez?x", 200),
        ("GET", "/", 404),
        ("POST", "/livez", 405),
    ],
)
def test_each_address_has_its_answer(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert ("fundus_relay_x 1" in answer.text) == (path == "/metrics")


def test_who_says_nothing_or_nonsense_keeps_nobody_out(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address)) for _ in range(MOST_AT_ONCE // 2)]
        for text in (b"\0\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000):
            with socket.create_connection(address) as odd:
                odd.sendall(text)

        assert client.get("/livez").status_code == 200
        assert len(silent) == MOST_AT_ONCE // 2


def test_as_many_as_there_is_room_for_keep_nobody_out_and_the_first_of_them_makes_room(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address)) for _ in range(MOST_AT_ONCE)]
        began = time.monotonic()
        answers = [client.get(path).status_code for path in ("/livez", "/livez", "/metrics")]
        lasted_s = time.monotonic() - began
        silent[0].settimeout(ASKED_WITHIN_S / 2)
        first = silent[0].recv(1)
        silent[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[-1].recv(1)

    assert first == b""
    assert answers == [200, 200, 200]
    assert lasted_s < ASKED_WITHIN_S / 2


def test_a_port_that_is_taken_is_told(health: Health) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(CannotListen),
        probes("127.0.0.1", taken.getsockname()[1], health, bytes),
    ):
        pass

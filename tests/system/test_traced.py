"""A trace through two real processes: what the one took, the other goes on with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.collector import a_collector, is_error, paths, told
from tests.flow.test_traces import a_media
from tests.system.test_probes import serving

pytestmark = pytest.mark.slow


async def test_the_api_begins_a_trace_and_a_worker_goes_on_with_it(database_url: str, tmp_path: Path) -> None:
    """Seconds, since both processes start and end: the only look at how they come by their tracer."""
    with a_collector() as collector:
        more = {
            "FUNDUS_RELAY_TRACES__ENDPOINT": collector.url,
            "FUNDUS_RELAY_TRACES__HEADERS": "authorization=Bearer%20s3cret",
            "FUNDUS_RELAY_ANALYSER__BASE_URL": "http://127.0.0.1:9/v1",
        }
        async with serving("api", database_url, tmp_path, **more) as (api, port, _):
            async with serving("worker", database_url, tmp_path, **more) as (worker, _, _):
                async with httpx.AsyncClient(trust_env=False) as client:
                    answer = await client.post(
                        f"http://127.0.0.1:{port}/fhir/Media",
                        json=a_media(1),
                        headers={"Content-Type": "application/fhir+json"},
                    )
                assert await asyncio.to_thread(collector.wait_for, "send image")
                worker.terminate()
                await asyncio.wait_for(worker.wait(), 30)
            api.terminate()
            codes = await asyncio.wait_for(api.wait(), 30), worker.returncode

    (spans,) = collector.traces().values()
    failed = next(span for span in spans if span.name == "send image")
    assert answer.status_code == 201
    assert codes == (0, 0)
    assert {"request", "request/prepare image", "request/send image"} == set(paths(spans))
    assert (is_error(failed), told(failed)["reason"]) == (True, "analyser-unavailable")
    assert {head["authorization"] for head in collector.heads} == {"Bearer s3cret"}

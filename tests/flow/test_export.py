"""What an auditor, or a patient who asks, is given: everything of a study, in files that need no program of ours."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import pytest
from tests.flow.aging import come_to_the_present, grow_older
from tests.flow.test_operator import said
from tests.flow.world import LEFT, World, a_photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.legal_hold import PostgresHolds
from fundus_relay.adapters.database.pool import connected
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.values import Entry
from fundus_relay.pipeline.identity import criterion
from fundus_relay.pipeline.operator import hold
from fundus_relay.pipeline.purge import Purge

EYE, OTHER_EYE = a_jpeg(noise=51), a_jpeg(noise=52)


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "FUNDUS_RELAY_DATABASE__URL": database_url,
        "FUNDUS_RELAY_DATA_DIR": str(tmp_path / "data"),
        "FUNDUS_RELAY_BLOBS__URL": str(tmp_path),
    }


def lines(zip: ZipFile, name: str) -> list[dict[str, Any]]:
    (found,) = [each for each in zip.namelist() if each.endswith(f"/{name}.ndjson")]
    return [json.loads(line) for line in zip.read(found).splitlines()]


def list_of_parts(folder: Path) -> list[Path]:
    """What was begun and is not whole."""
    return [file for file in folder.iterdir() if file.name.endswith(".partial")]


async def test_everything_of_a_study_is_in_one_file_and_nothing_of_it_on_the_screen(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.finish()
    corrected = {**photograph.resource, "bodySite": LEFT}
    await world.accept(type(photograph)(corrected, method="PUT", picture=photograph.picture, element="Media"))
    await world.finish()
    await world.accept(await a_photograph(world, OTHER_EYE))  # of another study
    for reference in ("", "case 2"):
        await hold("Media/m1", PostgresHolds(world.pool, world.clock), who="legal", why="", reference=reference)
    to = tmp_path / "for-the-auditor.zip"

    (told,) = await said(environment, "export", "Media/m1", "--to", str(to), "--pictures")

    assert told.keys() == {"studies", "files", "bytes", "missing"}
    assert (told["studies"], told["missing"]) == (1, 0)
    assert to.stat().st_mode & 0o777 == 0o600
    assert not list_of_parts(tmp_path)
    with ZipFile(to) as zip:
        assert zip.testzip() is None
        manifest = json.loads(zip.read("manifest.json"))
        for each in manifest["files"]:
            data = zip.read(each["name"])
            assert (len(data), hashlib.sha256(data).hexdigest()) == (each["bytes"], each["sha256"])
        assert {each["name"] for each in manifest["files"]} == set(zip.namelist()) - {"manifest.json"}
        resources = lines(zip, "resources")
        media = [each["meta"]["versionId"] for each in resources if each["id"] == "m1"]
        assert media == ["1", "2"]
        kinds = {each["resourceType"] for each in resources}
        assert kinds >= {"Media", "Task", "DiagnosticReport", "Observation", "Provenance", "Device", "Binary"}
        assert [each["state"] for each in lines(zip, "deliveries")] == ["confirmed", "confirmed"]
        assert all(each["remote_id"] for each in lines(zip, "deliveries"))
        assert {each["revision"] for each in lines(zip, "delivered")} == {1, 2}
        holds = [(each["reference"], each["ended_at"]) for each in lines(zip, "holds")]
        assert holds == [("", None), ("case 2", None)]
        (image,) = lines(zip, "images")
        assert image["analysis"]["kind"] == "graded"
        moves = [each["to_state"] for each in lines(zip, "journal") if each["subject"] == "image"]
        assert moves[0] == "received" and moves[-1] == "answered"
        assert zip.read(f"files/{image['source_sha256']}.jpg") == EYE
        assert hashlib.sha256(OTHER_EYE).hexdigest() not in zip.read("manifest.json").decode()


async def test_what_was_purged_is_named_as_missing(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    come_to_the_present(world)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    await grow_older(world, tmp_path, timedelta(days=31))
    await Purge(world.ports, {Kept.SOURCE: timedelta(days=30)}).round()
    to = tmp_path / "all.zip"

    (told,) = await said(environment, "export", f"Task/{taken.task_id}", "--to", str(to), "--pictures")

    assert told["missing"] == 1
    with ZipFile(to) as zip:
        assert json.loads(zip.read("manifest.json"))["missing"] == [hashlib.sha256(EYE).hexdigest()]


async def test_an_export_overwrites_nothing_and_leaves_nothing_half(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    to = tmp_path / "all.zip"
    to.write_bytes(b"another patient's")

    await said(environment, "export", taken.resource["id"], "--to", str(to), code=1)
    await said(environment, "export", "nobody", "--to", str(tmp_path / "other.zip"), code=1)

    assert to.read_bytes() == b"another patient's"
    assert not (tmp_path / "other.zip").exists()
    assert not list_of_parts(tmp_path)


async def test_nothing_of_another_patient_is_exported_whatever_a_sender_calls_an_order(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    other = {"resourceType": "Patient", "id": "other", "name": [{"family": "Somebody-else"}]}
    await world.accept(Entry(other, method="PUT", element="Patient/other"))
    theirs = await a_photograph(world, OTHER_EYE, method="PUT", id="theirs", subject={"reference": "Patient/other"})
    await world.accept(theirs)
    await world.finish()
    async with connected(world.pool) as connection:
        found = await connection.execute("select id from resource where kind = 'DiagnosticReport'")
        (report,) = [row[0] for row in await found.fetchall()]
    order = {
        "resourceType": "ServiceRequest",
        "id": "o-1",
        "subject": {"reference": "Patient/demo-patient"},
        "identifier": [{"value": name} for name in (f"DiagnosticReport/{report}", "Patient/other", "Media/theirs")],
    }
    await world.accept(Entry(order, method="PUT", element="ServiceRequest/o-1"))
    await world.accept(
        await a_photograph(world, EYE, method="PUT", id="m1", basedOn=[{"reference": "ServiceRequest/o-1"}])
    )
    await world.finish()
    to = tmp_path / "for-the-patient.zip"

    await said(environment, "export", "Media/m1", "--to", str(to), "--pictures")

    with ZipFile(to) as zip:
        resources = lines(zip, "resources")
        ids = {each["id"] for each in resources}
        assert ids >= {"o-1", "m1"}
        assert ids.isdisjoint({report, "other", "theirs"})
        assert "Somebody-else" not in json.dumps(resources)
        assert hashlib.sha256(OTHER_EYE).hexdigest() not in zip.read("manifest.json").decode()


async def test_an_order_that_is_given_to_another_patient_later_leads_no_export_there(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    def put(kind: str, id: str, **elements: Any) -> Entry:  # Any: elements of a resource
        return Entry({"resourceType": kind, "id": id, **elements}, method="PUT", element=f"{kind}/{id}")

    other, ours = {"reference": "Patient/other"}, {"reference": "Patient/demo-patient"}
    surgeon = {"requester": {"reference": "Practitioner/of-the-other"}}
    await world.accept(put("Patient", "demo-patient"), put("Patient", "other", name=[{"family": "Somebody-else"}]))
    await world.accept(put("Practitioner", "of-the-other"), put("Encounter", "v-2", subject=other))
    groups = {"basedOn": [{"reference": "ServiceRequest/o-1"}], "encounter": {"reference": "Encounter/v-1"}}
    await world.accept(put("ServiceRequest", "o-1", subject=ours), put("Encounter", "v-1", subject=ours))
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1", **groups))
    await world.finish()
    await world.accept(put("ServiceRequest", "o-1", subject=other, encounter={"reference": "Encounter/v-2"}, **surgeon))
    await world.accept(put("Encounter", "v-1", subject={"identifier": {"system": "urn:x", "value": "the other's"}}))
    to = tmp_path / "for-the-patient.zip"

    await said(environment, "export", "Media/m1", "--to", str(to))

    with ZipFile(to) as zip:
        resources = lines(zip, "resources")
        told = {f"{each['resourceType']}/{each['id']}/{each['meta']['versionId']}" for each in resources}
        assert told >= {"Patient/demo-patient/1", "ServiceRequest/o-1/1", "Encounter/v-1/1", "Media/m1/1"}
        for theirs in ("Patient/other", "Somebody-else", "of-the-other", "the other's", "v-2"):
            assert theirs not in json.dumps(resources)
        left_out = json.loads(zip.read("manifest.json"))["left_out"]
        assert left_out == ["Encounter/v-1/_history/2", "ServiceRequest/o-1/_history/2"]


async def test_a_patient_who_came_again_and_again_by_an_identifier_is_one(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    identified = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "a|b"}]}
    first, again = [Entry(identified, element=f"Bundle.entry[{number}].resource") for number in range(2)]
    order = {"resourceType": "ServiceRequest", "id": "o-1", "subject": {"reference": again.element}}
    await world.accept(again, Entry(order, method="PUT", element="Bundle.entry[2].resource"))
    named = {"subject": {"reference": first.element}, "basedOn": [{"reference": "ServiceRequest/o-1"}]}
    await world.accept(first, await a_photograph(world, EYE, method="PUT", id="m1", **named))
    to = tmp_path / "for-the-patient.zip"

    await said(environment, "export", "Media/m1", "--to", str(to))

    with ZipFile(to) as zip:
        kinds = [each["resourceType"] for each in lines(zip, "resources")]
        assert sorted(kinds) == ["Media", "Patient", "Patient", "ServiceRequest", "Task"]


async def streamed(environment: dict[str, str], *arguments: str, into: int = subprocess.PIPE) -> tuple[int, bytes, str]:
    """Exit code of an export to standard output, and what came there and at standard error."""
    command = ("-m", "fundus_relay", "export", *arguments, "--to", "-")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=into, stderr=subprocess.PIPE
    )
    out, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out, said.decode()


async def test_an_export_goes_to_standard_output_and_nothing_else_does(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()

    code, out, said = await streamed(environment, taken.resource["id"], "--pictures")

    with ZipFile(io.BytesIO(out)) as zip:
        assert zip.testzip() is None
        manifest = json.loads(zip.read("manifest.json"))
        assert {each["name"] for each in manifest["files"]} == set(zip.namelist()) - {"manifest.json"}
        assert EYE in [zip.read(name) for name in zip.namelist()]
        assert out.startswith(b"PK") and out.endswith(zip.comment)
    assert (code, json.loads(said)["studies"]) == (0, 1)

    with (tmp_path / "both").open("wb") as file:  # behind what is there already, where nothing can be mended
        file.write(b"before")
        file.flush()
        code, _, _ = await streamed(
            environment, taken.resource["id"], into=os.open(file.name, os.O_WRONLY | os.O_APPEND)
        )
    with ZipFile(tmp_path / "both") as zip:
        assert (code, zip.testzip()) == (0, None)


async def test_an_export_to_standard_output_that_fails_leaves_no_zip(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    assert (await streamed(environment, "nobody"))[:2] == (1, b"")

    async with connected(world.pool) as elsewhere:
        await elsewhere.execute("lock table legal_hold")  # so that it is in the middle
        command = ("-m", "fundus_relay", "export", taken.resource["id"], "--to", "-")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        begun = await asyncio.wait_for(process.stdout.readexactly(2), 30)
        process.send_signal(signal.SIGTERM)
        half = begun + await asyncio.wait_for(process.stdout.read(), 30)
        code = await process.wait()

    assert (code, begun) == (130, b"PK")
    with pytest.raises(BadZipFile):
        ZipFile(io.BytesIO(half))


@pytest.mark.parametrize("identifier", [{"system": "urn:x", "value": "a|b,c"}, {"value": "a"}])
async def test_a_search_and_an_identifier_are_one_patient_who_never_came(
    world: World, environment: dict[str, str], tmp_path: Path, identifier: dict[str, str]
) -> None:
    order = {"resourceType": "ServiceRequest", "id": "o-1", "subject": {"type": "Patient", "identifier": identifier}}
    await world.accept(Entry(order, method="PUT", element="ServiceRequest/o-1"))
    searched = {"reference": f"Patient?identifier={criterion(identifier)}"}
    named = {"subject": searched, "basedOn": [{"reference": "ServiceRequest/o-1"}]}
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1", **named))
    to = tmp_path / "for-the-patient.zip"

    await said(environment, "export", "Media/m1", "--to", str(to))

    with ZipFile(to) as zip:
        kinds = [each["resourceType"] for each in lines(zip, "resources")]
        assert sorted(kinds) == ["Media", "ServiceRequest", "Task"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_an_export_that_is_stopped_leaves_nothing_half(
    world: World, environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    async with connected(world.pool) as elsewhere:
        await elsewhere.execute("lock table legal_hold")  # so that it is in the middle
        command = ("-m", "fundus_relay", "export", taken.resource["id"], "--to", str(tmp_path / "all.zip"))
        process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
        async with asyncio.timeout(30):
            while not list_of_parts(tmp_path):  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.05)
        process.send_signal(number)

        assert await asyncio.wait_for(process.wait(), 30) == 130
        assert not list_of_parts(tmp_path)
        assert not (tmp_path / "all.zip").exists()

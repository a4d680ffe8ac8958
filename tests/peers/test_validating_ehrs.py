"""HAPI FHIR that refuses what is not valid: with the definitions of R4 alone, and with our guide installed."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.contract.test_health_record import FIRST, SECOND, expected
from tests.golden.stories import STORIES, Story
from tests.peers.conftest import PATIENTS, PeerSide
from tests.peers.judgement import TERMINOLOGY
from tests.peers.program import address, java
from tests.peers.wire import Wire
from tests.profiles.compiled import COMPILED, profile_of

from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.domain.errors import RecordRefused
from fundus_relay.domain.values import Json

STRANGE = "https://guide.example/StructureDefinition/unheard-of"


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """URL of one that knows R4 4.0.1 and nothing else."""
    with java("hapi", "-Dpeer.validate=true", "peer.Main") as process:
        yield address(process)


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one in which our guide is installed, and a v3-ObservationValue of today."""
    if not COMPILED.is_dir():
        pytest.skip("NOT RUN: NO EHR HAS OUR GUIDE, because `make profiles` has not been run")
    package = tmp_path_factory.mktemp("guide") / "package.tgz"
    write_package(package, [*COMPILED.glob("*.json"), TERMINOLOGY / "v3-ObservationValue.json"])
    with java("hapi", "-Dpeer.validate=true", f"-Dpeer.package={package}", "peer.Main") as process:
        yield address(process)


@pytest.fixture
async def strict(request: pytest.FixtureRequest) -> AsyncIterator[PeerSide]:
    """The one that the test names, empty but for the patients."""
    url, wire = request.getfixturevalue(request.param), Wire()
    async with httpx.AsyncClient(transport=wire, base_url=url, timeout=60) as client:
        side = PeerSide(url, client, wire)
        for kind in ("Provenance", "DiagnosticReport", "Observation", "Media", "Device"):
            for each in reversed(await side.held(kind)):
                await client.delete(f"/fhir/{kind}/{each['id']}?_cascade=delete")
        for patient in PATIENTS:
            await side.put(patient)
        yield side


def record(side: PeerSide, **settings: bool) -> FhirTransactionRecord:
    return side.taking(**settings)


@pytest.mark.parametrize("strict", ["plain"], indirect=True)
async def test_the_label_is_refused_with_the_element_that_an_operator_looks_for(strict: PeerSide) -> None:
    with pytest.raises(RecordRefused, match=r"422 processing Bundle\.entry\[0\]\.resource\.meta\.security\[0\]"):
        await record(strict).publish(FIRST, revision=1)


@pytest.mark.parametrize("strict", ["plain"], indirect=True)
async def test_a_profile_that_it_does_not_know_is_refused(strict: PeerSide) -> None:
    with pytest.raises(RecordRefused, match=r"422 processing Bundle\.entry\[0\]\.resource\.meta\.profile\[0\]"):
        await record(strict, ai_label=False).publish([with_profile(each, STRANGE) for each in FIRST], revision=1)


@pytest.mark.parametrize("strict", ["plain"], indirect=True)
async def test_without_label_and_profiles_reports_and_revisions_arrive(strict: PeerSide) -> None:
    ehr = record(strict, ai_label=False, profiles=False)

    await ehr.publish([with_profile(each, STRANGE) for each in FIRST], revision=1)
    await ehr.publish([with_profile(each, STRANGE) for each in SECOND], revision=2)

    assert await strict.counts() == expected(FIRST, SECOND)
    (report,) = await strict.held("DiagnosticReport")
    assert "AI-generated" in report["text"]["div"]
    assert not {"security", "profile"} & report["meta"].keys()


@pytest.mark.parametrize("strict", ["guided"], indirect=True)
@pytest.mark.parametrize("name", STORIES)
async def test_with_our_guide_every_story_arrives_with_label_and_profiles(strict: PeerSide, name: str) -> None:
    story = replace(STORIES[name].study, subject={"reference": "Patient/second-patient"}, context={})
    told = Story(story, STORIES[name].images).linked()
    profiled = [with_profile(each, profile_of(each)["url"]) for each in told]

    await record(strict).publish(profiled, revision=1)

    (report,) = await strict.held("DiagnosticReport")
    assert [each["code"] for each in report["meta"]["security"]] == ["AIAST"]
    assert report["meta"]["profile"] == [profile_of(report)["url"]]


@pytest.mark.parametrize("strict", ["guided"], indirect=True)
async def test_with_our_guide_a_report_that_breaks_its_profile_is_refused(strict: PeerSide) -> None:
    broken = [with_profile(each, profile_of(each)["url"]) for each in FIRST]
    del broken[0]["conclusion"], broken[0]["performer"]

    with pytest.raises(RecordRefused, match=r"422 processing Bundle\.entry\[0\]\.resource"):
        await record(strict).publish(broken, revision=1)


def with_profile(resource: Json, url: str) -> dict[str, object]:
    return {**resource, "meta": {**resource.get("meta", {}), "profile": [url]}}


def write_package(target: Path, definitions: Iterable[Path]) -> None:
    """An NPM package of FHIR definitions."""
    about = {"name": "dev.fundus-relay.guide", "version": "0.1.0", "fhirVersions": ["4.0.1"], "dependencies": {}}
    with tarfile.open(target, "w:gz") as archive:
        for name, document in [("package.json", about), *((each.name, whole(each)) for each in definitions)]:
            content = json.dumps(document).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def whole(file: Path) -> Json:
    """A definition; HAPI keeps no concepts of a fragment of a code system."""
    document: Json = json.loads(file.read_text())
    return {**document, "content": "complete"} if document.get("content") == "fragment" else document

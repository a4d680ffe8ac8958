"""A DICOM file that comes in a Media: its header counts as one from an archive does, and stands beside every box."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.dicom_files import STUDY, dicom_jpeg
from tests.fakes.image_archive import FakeImageArchive
from tests.flow.world import LEFT, World
from tests.imaging_studies import an_imaging_study
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.analysis import Graded, Lesion
from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.laterality import Laterality
from fundus_relay.pipeline.receive import Limits, receive

Json = dict[str, Any]
SOURCES = "http://images.test"
PATIENT: Json = {
    "resourceType": "Patient",
    "id": "demo-patient",
    "identifier": [{"system": "http://hospital.test/mrn", "value": "P-1"}],
}
FILE = dicom_jpeg(a_jpeg(), instance="1.2.3.4.5", ImageLaterality="L", ContentDate="20261121")


def a_media(file: bytes = FILE, **changes: Any) -> Json:
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/demo-patient"},
        "content": {"contentType": "application/dicom", "data": base64.b64encode(file).decode()},
        **changes,
    }
    return {name: value for name, value in media.items() if value is not None}


PLAIN = dicom_jpeg(a_jpeg(noise=3), instance="1.2.3.4.6", study="1.2.3.99")


async def sent(world: World, *resources: Json) -> None:
    """The whole way in: a transaction of these, a Patient by PUT."""
    entries = [
        {
            "resource": each,
            "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}
            if "id" in each
            else {"method": "POST", "url": each["resourceType"]},
        }
        for each in resources
    ]
    text = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()

    async def body() -> AsyncIterator[bytes]:
        yield text

    submitted = await receive(body(), world.ports.blobs, FakeImageArchive(SOURCES, {f"{SOURCES}/1": FILE}), Limits())
    await world.accept(*submitted.entries)


async def refusal(world: World, *resources: Json) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as caught:
        await sent(world, *resources)
    return [(issue.element, issue.code) for issue in caught.value.issues]


@pytest.mark.parametrize("content", [None, {"contentType": "application/dicom", "url": f"{SOURCES}/1"}])
async def test_a_dicom_file_is_analysed_and_reported_with_what_its_header_tells(
    world: World, content: Json | None
) -> None:
    world.analyser.look = lambda _: Graded(True, True, (Lesion("Microaneurysm", Box(1, 2, 30, 40), "[1, 2, 30, 40]"),))

    await sent(world, PATIENT, a_media(**({"content": content} if content else {})))
    await world.finish()

    (image,) = await world.images()
    assert image.instance is not None
    assert (image.instance.instance, image.laterality, image.captured) == ("1.2.3.4.5", Laterality.LEFT, "2026-11-21")
    (lesions,) = await world.observations("lesion-regions")
    (component,) = lesions["component"]
    told = {part["url"]: part for part in component["extension"][0]["extension"]}
    assert told["sopInstance"]["valueOid"] == "urn:oid:1.2.3.4.5"
    assert told["frameNumber"]["valuePositiveInt"] == 1
    (media,) = await world.photographs()
    assert media["bodySite"]["coding"][0]["code"] == LEFT["coding"][0]["code"]
    assert (media["createdDateTime"], media["content"]["contentType"]) == ("2026-11-21", "application/dicom")


async def test_a_file_of_another_patient_is_refused_when_both_are_known(world: World) -> None:
    other = {**PATIENT, "identifier": [{"system": "http://hospital.test/mrn", "value": "P-2"}]}

    assert await refusal(world, other, a_media()) == [("Bundle.entry[1].resource.subject", "dicom-patient-mismatch")]
    named = {"identifier": {"value": "P-3"}}
    assert await refusal(world, a_media(subject=named)) == [
        ("Bundle.entry[0].resource.subject", "dicom-patient-mismatch")
    ]
    await world.finish()
    assert await world.images() == []


async def test_a_patient_that_came_earlier_is_known_too(world: World) -> None:
    await sent(world, {**PATIENT, "identifier": [{"value": "P-2"}]})

    assert await refusal(world, a_media()) == [("Bundle.entry[0].resource.subject", "dicom-patient-mismatch")]


OF_STUDY = {"partOf": [{"reference": "ImagingStudy/s1"}]}
CONTAINED = {"id": "s", "subject": {"reference": "Patient/demo-patient"}}


@pytest.mark.parametrize(
    "how",
    [
        lambda uid: ([an_imaging_study(uid, id="s1")], a_media(**OF_STUDY)),
        lambda uid: ([], a_media(partOf=[{"reference": "#s"}], contained=[an_imaging_study(uid, **CONTAINED)])),
        lambda uid: (
            [],
            a_media(
                partOf=[
                    {
                        "type": "ImagingStudy",
                        "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"},
                    }
                ]
            ),
        ),
    ],
    ids=["sent along", "contained", "by its identifier"],
)
async def test_a_file_of_another_study_than_its_media_is_part_of_is_refused(
    world: World, how: Callable[[str], tuple[list[Json], Json]]
) -> None:
    beside, media = how("1.2.3.99")
    element = f"Bundle.entry[{len(beside)}].resource.partOf[0]"

    assert await refusal(world, *beside, media) == [(element, "study-mismatch")]
    beside, media = how(STUDY)
    await sent(world, *beside, media)

    assert len(await world.images()) == 1


async def test_a_study_that_came_earlier_is_compared_too(world: World) -> None:
    await sent(world, PATIENT, an_imaging_study("1.2.3.99", id="s1"), a_media(PLAIN, **OF_STUDY))

    assert await refusal(world, a_media(**OF_STUDY)) == [("Bundle.entry[0].resource.partOf[0]", "study-mismatch")]


@pytest.mark.parametrize("header", [{"PatientID": None}, {"PatientID": ""}, {"PatientID": " P-1 "}])
async def test_a_file_that_names_nobody_or_the_same_is_taken(world: World, header: Json) -> None:
    file = dicom_jpeg(a_jpeg(), instance="1.2.3.4.5", **header)

    await sent(world, PATIENT, a_media(file))
    await sent(world, a_media(file, subject={"reference": "Patient/unknown-here"}))

    assert [image.state for image in await world.images()] != []


async def test_an_instance_whose_name_fhir_cannot_say_is_analysed_without_it(world: World) -> None:
    await sent(world, PATIENT, a_media(dicom_jpeg(a_jpeg(), instance="1.2.003")))
    await world.finish()

    (image,) = await world.images()
    assert image.instance is None
    assert image.analysis is not None


async def test_a_correction_without_an_eye_is_the_headers_eye_still(world: World) -> None:
    await sent(world, PATIENT, a_media(id="m1", bodySite=LEFT))
    await sent(world, a_media(id="m1", note=[{"text": "looked at again"}]))

    (image,) = await world.images()
    assert image.laterality is Laterality.LEFT

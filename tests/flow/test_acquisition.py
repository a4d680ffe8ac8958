"""A study that lies in an archive: from its ImagingStudy to one report, whatever the archive does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.dicom_files import SERIES, STUDY, a_scene, dicom_file, dicom_jpeg, listed
from tests.flow.archived import ARCHIVE, ENDPOINT, PATIENT, a_study, an_entry, put
from tests.flow.world import World, reason
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.dicom import InstanceName
from fundus_relay.domain.errors import (
    ArchiveCredentialsRefused,
    ArchiveUnavailable,
    InvalidResource,
)
from fundus_relay.domain.states import AcquisitionState, ImageState
from fundus_relay.domain.values import Acquisition, Entry
from fundus_relay.imaging.preparation import prepare
from fundus_relay.pipeline.operator import release
from fundus_relay.pipeline.ports import Job

LEFT_EYE = {"system": "http://snomed.info/sct", "code": "7771000"}


@pytest.fixture
async def pacs(world: World) -> World:
    """The world with an archive that holds a right eye, and an EHR that knows the study."""
    await world.ehr.put("/fhir/ImagingStudy/study-1", json=a_study().resource)
    world.archive.address = ARCHIVE
    put(world, "1.2.3.1", laterality="R")
    return world


async def ask(world: World, **changes: Any) -> str:
    """The study asked for; returns the id of its Task."""
    *_, taken = await world.accept(an_entry(PATIENT), a_study(**changes))
    assert taken.task_id is not None
    return taken.task_id


async def acquisition_of(world: World) -> Acquisition:
    (image, *_) = [*await world.images(), None]
    async with world.ports.ledger.transaction() as tx:
        found = await tx.acquisitions_for("study-1")
    assert len(found) == 1, image
    return found[0]


async def test_what_an_archive_has_of_a_study_becomes_one_report(pacs: World) -> None:
    put(pacs, "1.2.3.2", laterality="L")

    task_id = await ask(pacs)
    assert (await pacs.task(task_id))["status"] == "accepted"
    await pacs.finish()

    report = await pacs.report()
    assert report["status"] == "preliminary"
    assert len(await pacs.photographs()) == 2
    assert "Right eye" in report["conclusion"] and "Left eye" in report["conclusion"]
    task = await pacs.task(task_id)
    assert task["status"] == "completed"
    assert task["focus"] == {"reference": "ImagingStudy/study-1"}
    assert len(task["input"]) == 3


async def test_the_jpeg_of_an_instance_reaches_the_analyser_byte_for_byte(pacs: World) -> None:
    jpeg = prepare(a_jpeg(noise=9)).picture  # free of metadata already
    pacs.archive.files.clear()
    pacs.archive.put(listed("1.2.3.9"), dicom_jpeg(jpeg, instance="1.2.3.9"))

    await ask(pacs)
    await pacs.finish()

    assert pacs.analyser.times_asked(jpeg) == 1


async def test_boxes_name_the_instance_and_the_frame(pacs: World) -> None:
    await ask(pacs)
    await pacs.finish()

    (gradability,) = await pacs.observations("image-gradability")
    (frame,) = gradability["extension"]
    told = {each["url"]: each for each in frame["extension"]}
    assert told["sopInstance"]["valueOid"] == "urn:oid:1.2.3.1"
    assert told["frameNumber"]["valuePositiveInt"] == 1


async def test_the_same_study_again_fetches_and_pays_nothing(pacs: World) -> None:
    first = await ask(pacs)
    await pacs.finish()

    second = await ask(pacs)
    await pacs.finish()

    assert second == first
    assert len(pacs.archive.fetched) == 1
    assert pacs.analyser.times_paid == 1
    assert (await pacs.report())["meta"]["versionId"] == "1"


@pytest.mark.parametrize("said_anew", [{"numberOfInstances": 2}, {}])
async def test_a_late_image_amends_the_one_report(pacs: World, said_anew: dict[str, Any]) -> None:
    task_id = await ask(pacs)
    await pacs.finish()

    put(pacs, "1.2.3.2", laterality="L")
    assert await ask(pacs, **said_anew) == task_id
    await pacs.finish()

    await pacs.report()
    assert len(await pacs.photographs()) == 2
    assert len(pacs.archive.fetched) == 2
    assert (await pacs.task(task_id))["status"] == "completed"


async def test_a_study_that_is_posted_twice_is_fetched_once_and_its_task_is_found_by_both(pacs: World) -> None:
    entry = replace(a_study(id=None), method="POST")
    first, again = [(await pacs.accept(an_entry(PATIENT), entry))[-1] for _ in range(2)]
    await pacs.finish()

    assert first.resource["id"] != again.resource["id"]
    assert first.task_id == again.task_id
    async with pacs.ports.ledger.transaction() as tx:
        for each in (first, again):
            page = await tx.resources.search("Task", [("focus", f"ImagingStudy/{each.resource['id']}")])
            assert [task["id"] for task in page.matches] == [first.task_id]
    assert len(pacs.archive.fetched) == 1


async def test_who_asks_again_is_not_told_what_came_of_the_time_before(pacs: World) -> None:
    task_id = await ask(pacs)
    await pacs.finish()
    assert (await pacs.task(task_id))["status"] == "completed"

    await ask(pacs)

    assert (await pacs.task(task_id))["status"] == "in-progress"


async def test_a_study_that_is_not_there_yet_is_waited_for(pacs: World) -> None:
    kept = dict(pacs.archive.files)
    pacs.archive.files.clear()
    task_id = await ask(pacs)
    await pacs.run_jobs()
    waiting = await pacs.task(task_id)
    assert (waiting["status"], reason(waiting)) == ("in-progress", "images-missing")

    pacs.archive.files.update(kept)
    await pacs.finish()

    assert (await pacs.report())["status"] == "preliminary"


async def test_a_study_that_never_comes_says_so_in_its_task(pacs: World) -> None:
    pacs.archive.files.clear()
    task_id = await ask(pacs)
    await pacs.finish(rounds=30, step=timedelta(hours=3))

    task = await pacs.task(task_id)
    assert (task["status"], reason(task)) == ("on-hold", "images-missing")
    assert not await pacs.at_ehr("DiagnosticReport")


async def test_what_is_missing_does_not_hold_the_rest_back_for_long(pacs: World) -> None:
    task_id = await ask(pacs, numberOfInstances=2)
    await pacs.finish()

    report = await pacs.report()
    assert report["status"] == "partial"
    assert "Not all photographs" in report["conclusion"]

    put(pacs, "1.2.3.2", laterality="L")
    await pacs.finish(rounds=10)
    assert (await pacs.report())["status"] == "preliminary"
    assert (await pacs.task(task_id))["status"] == "completed"


async def test_an_instance_that_cannot_be_fetched_does_not_keep_the_others_back(pacs: World) -> None:
    put(pacs, "1.2.3.2", laterality="L")
    troubled = InstanceName(STUDY, SERIES, "1.2.3.1")
    pacs.archive.fault = lambda name: ArchiveUnavailable() if name == troubled else None
    task_id = await ask(pacs)
    await pacs.run_jobs()

    assert [name.instance for name in pacs.archive.fetched] == ["1.2.3.2"]
    assert reason(await pacs.task(task_id)) == "archive-unavailable"
    pacs.archive.fault = lambda _: None
    await pacs.finish()
    assert len(await pacs.photographs()) == 2


@pytest.mark.parametrize("error", [ArchiveUnavailable, ArchiveCredentialsRefused])
async def test_an_archive_in_trouble_is_asked_again(pacs: World, error: type[Exception]) -> None:
    pacs.archive.fault = lambda _: error()
    task_id = await ask(pacs)
    await pacs.run_jobs()
    assert reason(await pacs.task(task_id)) == error.code  # type: ignore[attr-defined]  # both have one

    pacs.archive.fault = lambda _: None
    await pacs.finish()
    assert (await pacs.task(task_id))["status"] == "completed"


async def test_another_patients_instance_stops_everything(pacs: World) -> None:
    put(pacs, "1.2.3.2", PatientID="P-2", laterality="L")
    task_id = await ask(pacs)
    await pacs.finish()

    task = await pacs.task(task_id)
    assert (task["status"], reason(task)) == ("on-hold", "dicom-patient-mismatch")
    assert not await pacs.at_ehr("DiagnosticReport")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"SOPInstanceUID": "1.2.3.99"}, "instance-mismatch"),
        ({"SeriesInstanceUID": "1.2.99"}, "instance-mismatch"),
        ({"StudyInstanceUID": "1.2.99"}, "instance-mismatch"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-annotation"),
        ({"Laterality": "L"}, "dicom-laterality-conflict"),
    ],
)
async def test_what_a_person_must_correct_is_held_with_its_reason(
    pacs: World, header: dict[str, str], code: str
) -> None:
    pacs.archive.files.clear()
    put(pacs, "1.2.3.2", **header)
    task_id = await ask(pacs)
    await pacs.finish()

    task = await pacs.task(task_id)
    assert (task["status"], reason(task)) == ("on-hold", code)
    assert pacs.analyser.times_paid == 0
    (parked,) = await pacs.ports.ledger.parked()
    assert (parked.subject, parked.reason) == ("acquisition", code)

    pacs.archive.files.clear()
    put(pacs, "1.2.3.2", laterality="L")
    await release(parked.id, pacs.ports.ledger, pacs.clock)
    await pacs.finish()
    assert (await pacs.task(task_id))["status"] == "completed"


async def test_the_series_of_the_imaging_study_may_not_contradict_the_header(pacs: World) -> None:
    series = {"uid": SERIES, "modality": {"code": "OP"}, "laterality": LEFT_EYE}
    task_id = await ask(pacs, series=[series])
    await pacs.finish()

    assert reason(await pacs.task(task_id)) == "dicom-laterality-conflict"


async def test_the_series_tells_the_eye_when_the_header_does_not(pacs: World) -> None:
    pacs.archive.files.clear()
    put(pacs, "1.2.3.2", laterality=None)
    series = {"uid": SERIES, "modality": {"code": "OP"}, "laterality": LEFT_EYE}
    await ask(pacs, series=[series])
    await pacs.finish()

    (image,) = await pacs.images()
    assert image.laterality == "L"


async def test_nobody_guesses_an_eye_that_nothing_tells(pacs: World) -> None:
    pacs.archive.files.clear()
    put(pacs, "1.2.3.2", laterality=None)
    await ask(pacs)
    await pacs.finish()

    (image,) = await pacs.images()
    assert image.laterality is None


async def test_every_frame_is_a_photograph_of_its_own(pacs: World) -> None:
    pacs.archive.files.clear()
    frames = np.stack([a_scene(), a_scene(seed=9), a_scene(seed=20)])
    pacs.archive.put(listed("1.2.3.7"), dicom_file(frames, frames=3, instance="1.2.3.7"))
    await ask(pacs)
    await pacs.finish()

    images = await pacs.images()
    assert [image.source.frame for image in images] == [1, 2, 3]
    assert len({image.prepared.sha256 for image in images if image.prepared}) == 3
    assert len(await pacs.photographs()) == 3


async def test_only_what_is_a_photograph_is_fetched(pacs: World) -> None:
    pacs.archive.put(listed("1.2.3.5", sop_class="1.2.840.10008.5.1.4.1.1.104.1", modality="DOC"), b"%PDF")
    pacs.archive.put(listed("1.2.3.6", modality="OT"), b"a chart")
    await ask(pacs)
    await pacs.finish()

    assert [name.instance for name in pacs.archive.fetched] == ["1.2.3.1"]


async def test_a_study_without_a_photograph_has_failed(pacs: World) -> None:
    pacs.archive.files.clear()
    pacs.archive.put(listed("1.2.3.5", sop_class="1.2.840.10008.5.1.4.1.1.104.1", modality="DOC"), b"%PDF")
    task_id = await ask(pacs)
    await pacs.finish()

    task = await pacs.task(task_id)
    assert (task["status"], reason(task)) == ("failed", "no-photograph-in-study")


async def test_a_picture_that_cannot_be_used_is_told_and_the_others_are_reported(pacs: World) -> None:
    pacs.archive.put(listed("1.2.3.8"), dicom_file(a_scene(64, 64), instance="1.2.3.8"))
    pacs.archive.put(listed("1.2.3.9"), b"no DICOM at all")
    task_id = await ask(pacs)
    await pacs.finish()

    task = await pacs.task(task_id)
    assert task["status"] == "completed"
    told = {each["diagnostics"]: each["details"]["coding"][0]["code"] for each in task["contained"][0]["issue"]}
    assert told == {"urn:oid:1.2.3.8": "picture-too-small", "urn:oid:1.2.3.9": "picture-damaged"}
    report = await pacs.report()
    assert report["status"] == "preliminary"
    assert "could not be used: 2" in report["conclusion"]


async def test_a_study_taken_back_takes_its_report_back(pacs: World) -> None:
    task_id = await ask(pacs)
    await pacs.finish()

    await pacs.accept(a_study(status="entered-in-error"))
    await pacs.finish()

    assert (await pacs.report())["status"] == "entered-in-error"
    assert (await pacs.task(task_id))["status"] == "cancelled"
    assert (await acquisition_of(pacs)).state is AcquisitionState.CANCELLED


async def test_a_study_taken_back_before_anything_came_is_not_fetched(pacs: World) -> None:
    task_id = await ask(pacs)
    await pacs.accept(a_study(status="cancelled"))
    await pacs.finish()

    assert not pacs.archive.fetched
    assert (await pacs.task(task_id))["status"] == "cancelled"


async def test_a_study_that_stands_again_is_reported_again_and_paid_once(pacs: World) -> None:
    await ask(pacs)
    await pacs.finish()
    await pacs.accept(a_study(status="entered-in-error"))
    await pacs.finish()

    await ask(pacs)
    await pacs.finish()

    assert (await pacs.report())["status"] == "preliminary"
    assert pacs.analyser.times_paid == 1


@pytest.mark.parametrize("how", ["contained", "in the request", "here already"])
async def test_the_endpoint_says_which_archive(pacs: World, how: str) -> None:
    pacs.archive.is_default = False
    reference = "#pacs" if how == "contained" else "Endpoint/pacs"
    contained = [ENDPOINT] if how == "contained" else None
    study = a_study(endpoint=[{"reference": reference}], contained=contained)
    endpoint = Entry(ENDPOINT, method="PUT", element="Bundle.entry[1].resource")
    if how == "here already":
        await pacs.accept(endpoint)
    await pacs.accept(*([endpoint] if how == "in the request" else []), an_entry(PATIENT), study)
    await pacs.finish()

    assert (await pacs.report())["status"] == "preliminary"


async def test_an_archive_that_is_not_listed_is_refused_at_its_element(pacs: World) -> None:
    elsewhere = {**ENDPOINT, "address": "http://169.254.169.254/dicom-web"}
    with pytest.raises(InvalidResource) as refused:
        await pacs.accept(a_study(endpoint=[{"reference": "#pacs"}], contained=[elsewhere]))

    (issue,) = refused.value.issues
    assert (issue.element, issue.code) == ("ImagingStudy.endpoint[0]", "archive-not-allowed")


async def test_a_study_needs_its_uid(pacs: World) -> None:
    with pytest.raises(InvalidResource) as refused:
        await pacs.accept(a_study(identifier=[{"system": "http://hospital.test/acc", "value": "A-1"}]))

    (issue,) = refused.value.issues
    assert (issue.element, issue.code) == ("ImagingStudy.identifier", "study-uid-missing")


async def test_without_an_archive_a_study_only_tells_of_its_media(world: World) -> None:
    (taken,) = await world.accept(a_study())

    assert taken.task_id is None
    assert not world.queue


async def test_an_imaging_study_names_one_patient_for_good(pacs: World) -> None:
    await ask(pacs)
    with pytest.raises(InvalidResource) as refused:
        await pacs.accept(a_study(subject={"reference": "Patient/somebody-else"}))

    (issue,) = refused.value.issues
    assert (issue.element, issue.code) == ("ImagingStudy.subject", "patient-changed")


async def test_a_crash_between_two_instances_repeats_no_image(pacs: World) -> None:
    for number in range(2, 6):
        put(pacs, f"1.2.3.{number}", laterality="L")
    crashes = iter([None, None, None, RuntimeError("killed"), None, None, None, None, None])
    pacs.archive.fault = lambda _: next(crashes, None)
    await ask(pacs)
    with pytest.raises(RuntimeError, match="killed"):
        await pacs.run_jobs()
    pacs.queue.clear()
    await pacs.reconcile()
    await pacs.finish()

    assert len(await pacs.images()) == 5
    assert pacs.analyser.times_paid == 5
    assert all(image.state is ImageState.ANSWERED for image in await pacs.images())
    assert [job for job, _ in pacs.queue if job is Job.ACQUISITION] == []

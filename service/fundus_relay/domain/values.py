"""What the stages hand to each other and what the ledger keeps; translations read and make them too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .analysis import Analysis
from .dicom import DicomFacts, InstanceName
from .errors import InvalidResource, Issue
from .geometry import Affine, Size
from .laterality import Laterality
from .states import AcquisitionState, DeliveryState, ImageState, StudyState
from .urgency import Urgency

Json = dict[str, Any]  # a FHIR resource or a part of one, as parsed JSON: its shape is FHIR's, not ours


class Pieces(Protocol):
    """A picture of which the length is known, and that is read piece by piece, from its beginning each time."""

    byte_count: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture that is durable in the blob store.

    Attributes:
        sha256: of its bytes, in hexadecimal; also its address.
        media_type: by the bytes: `image/jpeg`, `image/png`, `image/tiff` or `application/dicom`.
        byte_count: how long it is.
        size: columns and rows of the raster as stored, before any EXIF turn.
        frame: which of the file's frames this picture is, from 1.
    """

    sha256: str
    media_type: str
    byte_count: int
    size: Size
    frame: int = 1

    @property
    def name(self) -> str:
        """What tells this picture from every other: the file's digest, and which frame of it when not the first."""
        return self.sha256 if self.frame == 1 else f"{self.sha256}#{self.frame}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource that a sender handed in, validated, pixel-free.

    Attributes:
        resource: FHIR JSON; `content.data` is cut out, references are `Type/id` where that is enough, and the
            `element` of the entry that they mean when that came along in the same transaction.
        method: `POST` or `PUT`.
        if_none_exist: search criteria of a conditional create without the type, e.g. `identifier=sys|val`.
        if_match: version that a PUT expects to be the newest; 0 when there must be none yet, None when any will do.
        full_url: `Bundle.entry.fullUrl`, `Type/id` if it lies at the EHR, or None.
        picture: of a Media; None for every other type.
        header: of a Media whose picture is a DICOM file.
        trace: as `Image.trace`.
        element: FHIRPath of the resource in what was sent: `Media` or `Bundle.entry[2].resource`.
    """

    resource: Json
    method: str = "POST"
    if_none_exist: str | None = None
    if_match: int | None = None
    full_url: str | None = None
    picture: StoredPicture | None = None
    header: DicomFacts | None = None
    element: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """One request body: a single resource, or a Bundle of several.

    Attributes:
        bundle: `transaction`, `batch`, or None for a single resource.
        refused: of a batch, position of each entry that is wrong → what is wrong with it; `entries` has the others.
    """

    entries: tuple[Entry, ...]
    bundle: str | None = None
    refused: Mapping[int, InvalidResource] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one entry.

    Attributes:
        resource: as stored, with id and meta.
        is_new: False when a conditional create found it, or a PUT changed nothing.
        task_id: of the submission that a Media started or joined, else None.
        notes: what its sender should know although it was taken.
    """

    resource: Json
    is_new: bool
    task_id: str | None = None
    notes: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """The photographs of one visit.

    Attributes:
        key: what makes it one study; unique. See `pipeline.identity.study_key`.
        subject: Reference to the Patient as the EHR knows it (literal, or conditional by identifier).
        context: `basedOn`, `encounter`, `imagingStudy` references for the report, as the EHR knows them.
        revision: of its report; 0 before the first.
        fingerprint: of what the newest revision says.
        urgency: of all that belongs to it: its report waits for each of its images.
    """

    id: str
    key: str
    subject: Json
    context: Json
    state: StudyState = StudyState.COLLECTING
    revision: int = 0
    fingerprint: str = ""
    urgency: Urgency = Urgency.ROUTINE


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """What is sent to the analyser, and the way back.

    Attributes:
        to_source: from pixels of this picture to pixels of the source raster.
        steps: what was done, in order, e.g. `exif-orientation 6`, `metadata stripped`, `jpeg quality 92`.
    """

    sha256: str
    media_type: str
    size: Size
    to_source: Affine
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredPage:
    """What was made of a report for people to look at, durable in the blob store.

    Attributes:
        sha1: of its bytes, in base64, as FHIR's Attachment wants it.
        media_type: `application/pdf` or `image/jpeg`.
        size: of a picture.
    """

    sha256: str
    sha1: str
    media_type: str
    byte_count: int
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An overlay of an earlier revision, as the revision before told of it.

    Attributes:
        media: the Media that it is.
        page: the Binary of its bytes, whether these are kept or not.
    """

    media: Json
    page: Json


@dataclass(frozen=True, slots=True)
class Pages:
    """All that was made of one report revision.

    Attributes:
        sheet: the PDF, if one was wanted.
        overlays: by image id, the photograph with its boxes drawn.
        not_drawn: ids of images whose picture could not be shown.
        earlier: by image id, of those the overlays that still show what the report says; their bytes are not kept here
            any more, and whoever got them keeps them.
    """

    sheet: StoredPage | None = None
    overlays: Mapping[str, StoredPage] = field(default_factory=dict)
    not_drawn: tuple[str, ...] = ()
    earlier: Mapping[str, Earlier] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreditMark:
    """What we knew of the account before an upload left, when none of ours was under way; evidence if it gets lost.

    Attributes:
        remaining: credits, or None when never told.
        confirmed: how many uploads of ours had been confirmed since the account's row exists.
    """

    remaining: int | None
    confirmed: int


@dataclass(frozen=True, slots=True)
class Image:
    """One photograph of one study, and how far it is.

    Attributes:
        media_id: id of the Media resource that brought it (the first one, when it was sent twice).
        captured: FHIR dateTime of the photograph as sent (`Media.createdDateTime`), or None.
        instance: where it stands in DICOM's order of things, when it came as DICOM.
        attempt: how often the present state's effect was tried; settles fence on it.
        is_standin: whether a stand-in answered, no Netra.
        advice: what a quick look had against it before it was sent, by `imaging.precheck`; never a finding.
        trace: where its trace goes on, in the form of W3C's `traceparent`; empty when it has none.
        urgency: of its study.
        tenant: who sent it; by name, or empty.
        place: see `domain.urgency`.
    """

    id: str
    study_id: str
    media_id: str
    source: StoredPicture
    laterality: Laterality | None
    state: ImageState
    since: datetime
    captured: str | None = None
    instance: InstanceName | None = None
    due_at: datetime | None = None
    reason: str | None = None
    attempt: int = 0
    resends: int = 0
    prepared: PreparedPicture | None = None
    credit_mark: CreditMark | None = None
    job_id: str | None = None
    job_status: str | None = None
    analysing_since: datetime | None = None
    analysis: Analysis | None = None
    answered_at: datetime | None = None
    is_standin: bool = False
    advice: tuple[str, ...] = ()
    trace: str = ""
    urgency: Urgency = Urgency.ROUTINE
    tenant: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """An image that the analyser works on and that is due for a question."""

    image_id: str
    job_id: str
    analysing_since: datetime
    trace: str = ""
    urgency: Urgency = Urgency.ROUTINE


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to analyse one study; its Task has the same id.

    Attributes:
        image_media: image id → id of the Media of this submission that brought it.
        imaging_studies: ids of the ImagingStudies that ask for what an archive has; none when Media ask.
        is_urgency_refused: it names an urgent order whose priority does not count.
    """

    id: str
    study_id: str
    accepted_at: datetime
    image_media: Mapping[str, str] = field(default_factory=dict)
    imaging_studies: tuple[str, ...] = ()
    is_urgency_refused: bool = False


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One study's pictures on their way here from an archive.

    Attributes:
        submission_id: of the submission, and so of the Task, that tells of it.
        imaging_study: id of the ImagingStudy that asked last, in our own store.
        address: base URL of the archive, and `study_uid` the study there.
        asked_at: when a sender, or an operator, last asked for it: its patience begins there.
        looked_at: when everything that the archive listed had been tried once since then, or None.
        instances: SOP Instance UID → None once it was fetched, or the code of why it was not.
        trace: as `Image.trace`; its images go on in it.
        urgency, tenant, place: as of an image.
    """

    id: str
    study_id: str
    submission_id: str
    imaging_study: str
    address: str
    study_uid: str
    state: AcquisitionState
    since: datetime
    asked_at: datetime
    due_at: datetime | None = None
    reason: str | None = None
    attempt: int = 0
    looked_at: datetime | None = None
    instances: Mapping[str, str | None] = field(default_factory=dict)
    trace: str = ""
    urgency: Urgency = Urgency.ROUTINE
    tenant: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One report revision on its way to one destination. What it says is kept apart, since it may be large.

    Attributes:
        report_id: id of the DiagnosticReport in our own store.
        remote_id: id of the DiagnosticReport at the EHR, once confirmed.
        first_tried_at: when the retry horizon began.
        traces: of the images that it tells of, where they go on.
    """

    id: str
    study_id: str
    revision: int
    destination: str
    state: DeliveryState
    report_id: str
    since: datetime
    due_at: datetime | None = None
    reason: str | None = None
    attempt: int = 0
    first_tried_at: datetime | None = None
    remote_id: str | None = None
    traces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upload:
    """The analyser took an image.

    Attributes:
        remaining: credits after it, or None when not told.
        is_standin: whether the answering server says that it is a stand-in.
    """

    job_id: str
    remaining: int | None
    is_standin: bool = False


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far the analyser is.

    Attributes:
        literal: `QUEUED`, `COMPLETED`, `ERROR`, `HOLD`, or whatever else it said.
    """

    literal: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The analyser's result.

    Attributes:
        analysis: as understood.
        used_on: when the analyser says that it ran, or None.
        is_standin: whether the answering server says that it is a stand-in.
    """

    analysis: Analysis
    used_on: datetime | None
    is_standin: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The EHR holds a report revision; read back and compared.

    Attributes:
        remote_id: id of the DiagnosticReport at the EHR.
        superseded: True when the EHR already holds a later revision, which was left alone.
    """

    remote_id: str
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search.

    Attributes:
        matches: resources in order.
        included: resources that `_include` brought.
        total: of all matches.
        next_offset: where the next page begins, or None.
    """

    matches: tuple[Json, ...]
    included: tuple[Json, ...]
    total: int
    next_offset: int | None

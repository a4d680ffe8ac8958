"""What can go wrong, sorted by what happens next.

A leaf exists for each distinct fix; its `code` is stable, unique and listed in the README. Messages hold ids, codes and
element paths, never patient data.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


class RelayError(Exception):
    """An error that we raise on purpose."""

    code = "relay-error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])


class Rejected(RelayError):
    """The sender must change something; never tried again."""

    code = "rejected"


class Unavailable(RelayError):
    """The same request may succeed later; waits."""

    code = "unavailable"

    def __init__(self, message: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unexplained(RelayError):
    """An answer outside its contract; parked for a person."""

    code = "unexplained"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with a resource.

    Attributes:
        element: FHIRPath of the element, e.g. `Media.content.data` or `Bundle.entry[1].resource.status`.
        kind: a code of FHIR's issue-type value set, e.g. `required`, `value`, `not-supported`.
        text: what to change; no patient data.
        code: our own stable code of the fix.
    """

    element: str
    kind: str
    text: str
    code: str


class InvalidResource(Rejected):
    """The resource breaks a rule; each issue names its element."""

    code = "invalid-resource"

    def __init__(self, *issues: Issue) -> None:
        super().__init__("; ".join(f"{issue.code} at {issue.element}" for issue in issues))
        self.issues = issues


class CriteriaNotSelective(Rejected):
    """A conditional request matches more than one resource."""

    code = "criteria-not-selective"


class VersionConflict(Rejected):
    """If-Match names a version that is not the newest, or If-None-Match asks for a new resource and there is one."""

    code = "version-conflict"


class UnacceptablePicture(Rejected):
    """The bytes are no picture that can be analysed."""

    code = "picture-unacceptable"


class NotAPicture(UnacceptablePicture):
    """The bytes are of no picture format that we know."""

    code = "picture-not-an-image"


class UnsupportedFormat(UnacceptablePicture):
    """The picture is neither JPEG, PNG, TIFF nor DICOM, or of a kind of these that is not read."""

    code = "picture-format-unsupported"


class SeveralPictures(UnacceptablePicture):
    """The file has several pictures, and a Media is one: send each as a Media of its own, or their ImagingStudy."""

    code = "picture-not-one"


class DamagedPicture(UnacceptablePicture):
    """The picture is truncated or does not decode."""

    code = "picture-damaged"


class PictureTooSmall(UnacceptablePicture):
    """The picture has fewer pixels than the analyser asks for."""

    code = "picture-too-small"


class PictureTooLarge(UnacceptablePicture):
    """The picture has more bytes or pixels than we take."""

    code = "picture-too-large"


class ArchiveNotAllowed(Rejected):
    """The study lies in an archive from which nothing may be fetched: ask the operator to list it, or send Media."""

    code = "archive-not-allowed"


class InstanceNotThere(Rejected):
    """The archive has no such instance."""

    code = "instance-not-there"


class InstanceMismatch(Rejected):
    """The archive gave another instance, series or study than it was asked for."""

    code = "instance-mismatch"


class PatientMismatch(Rejected):
    """The DICOM file names another patient than the resource that led to it."""

    code = "dicom-patient-mismatch"


class StudyMismatch(Rejected):
    """The DICOM file is of another study than the ImagingStudy that its Media is part of."""

    code = "study-mismatch"


class LateralityConflict(Rejected):
    """What tells of the eye names different eyes; one of them has to be corrected."""

    code = "dicom-laterality-conflict"


class BurnedInAnnotation(Rejected):
    """The picture is said to have text burned into its pixels, which may name the patient."""

    code = "burned-in-annotation"


class AnalyserRefused(Rejected):
    """The analyser does not take this picture."""

    code = "analyser-refused"


class ArchiveUnavailable(Unavailable):
    """The archive cannot be reached or has a passing fault."""

    code = "archive-unavailable"


class ArchiveRefused(Unexplained):
    """The archive refuses the request for a reason that waiting does not cure, or leads to another server."""

    code = "archive-refused"


class ImagesMissing(Unavailable):
    """The archive does not have the study, or not all of it; it may come yet."""

    code = "images-missing"


class ArchiveCredentialsRefused(Unavailable):
    """The archive refuses our account; an operator must mend it, the studies wait."""

    code = "archive-credentials-refused"


class AnalyserUnavailable(Unavailable):
    """The analyser cannot be reached or has a passing fault; nothing was sent, or nothing that costs."""

    code = "analyser-unavailable"


class AnalyserDeclined(Unavailable):
    """The analyser takes nothing now for a reason that its document does not list; after some tries it is parked.

    Attributes:
        vendor_code: as the analyser or HTTP calls the reason, e.g. `LC-ERR-0099`, or empty.
    """

    code = "analyser-declined"

    def __init__(self, message: str = "", *, vendor_code: str = "") -> None:
        super().__init__(message)
        self.vendor_code = vendor_code


class CredentialsRefused(Unavailable):
    """The analyser refuses our account; an operator must mend it, the images wait."""

    code = "analyser-credentials-refused"


class CreditsExhausted(Unavailable):
    """The analyser's account has no credits left."""

    code = "analyser-credits-exhausted"


class CreditsReserved(Unavailable):
    """The credits that remain are kept for images that are more urgent."""

    code = "analyser-credits-reserved"


HELD = frozenset({CreditsExhausted.code, CreditsReserved.code})
"""Why an image waits for credits; the database has an index of these."""


class UploadAmbiguous(Unexplained):
    """The upload left us and no answer came: the analysis may or may not have been paid."""

    code = "upload-ambiguous"


class AnswerNotUnderstood(Unexplained):
    """The analyser's answer is outside its contract."""

    code = "answer-not-understood"


class PictureLost(Unexplained):
    """A picture that was kept is not in the blob store any more, or is another one there."""

    code = "picture-lost"


class PicturePurged(Rejected):
    """The photograph or page is as old as the operator lets such files get, and was purged."""

    code = "picture-purged"


class RecordUnavailable(Unavailable):
    """The EHR cannot be reached, is busy, or lost a race; the same delivery may succeed later."""

    code = "record-unavailable"


class RecordCredentialsRefused(Unavailable):
    """The EHR refuses our token or its rights; an operator must mend it, the reports wait."""

    code = "record-credentials-refused"


class RecordRefused(Unexplained):
    """The EHR refuses the report for a reason that waiting does not cure."""

    code = "record-refused"


class DestinationUnknown(Unexplained):
    """The settings name no EHR of the name that the report was made out to."""

    code = "destination-unknown"


class StoreUnavailable(Unavailable):
    """Our own database or blob store cannot take anything now."""

    code = "store-unavailable"

"""Archives that speak DICOMweb: what a study has, and its instances as they are stored."""

from .client import DicomwebArchive

__all__ = ["DicomwebArchive"]

"""DICOM files: what the header says, and one frame's pixels."""

from .instance import frame_of, read_dicom

__all__ = ["frame_of", "read_dicom"]

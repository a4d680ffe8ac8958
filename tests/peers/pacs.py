"""Orthanc with its DICOMweb plug-in: a real archive on loopback that a test fills, stops and starts again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import httpx
import pytest
from tests.bench.processes import free_port

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "relay", "hush: %+é"  # a colon and letters beyond ASCII, as passwords have
START_WITHIN_S = 30


class Orthanc:
    """One archive with a database and files of its own.

    Attributes:
        url: of its DICOMweb service.
    """

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._configuration = folder / "orthanc.json"
        self._process: Popen[bytes] | None = None
        self._configuration.write_text(
            json.dumps(
                {
                    "HttpPort": self._port,
                    "DicomServerEnabled": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {USER: PASSWORD},
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "index"),
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        self.url = f"http://127.0.0.1:{self._port}/dicom-web"
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", auth=(USER, PASSWORD), trust_env=False, timeout=60
        )

    def start(self) -> None:
        """Returns once it answers."""
        self._process = Popen([PROGRAM, str(self._configuration)], stdout=DEVNULL, stderr=DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._client.get("/system").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("Orthanc does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def empty(self) -> None:
        for patient in self._client.get("/patients").raise_for_status().json():
            self._client.delete(f"/patients/{patient}").raise_for_status()

    def store(self, *files: bytes) -> None:
        """Over STOW-RS, as a camera's gateway does. Source: DICOM PS3.18 10.5."""
        body = b"".join(b"--next\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % each for each in files)
        kind = 'multipart/related; type="application/dicom"; boundary=next'
        answer = self._client.post("/dicom-web/studies", content=body + b"--next--\r\n", headers={"Content-Type": kind})
        answer.raise_for_status()
        assert "Value" not in answer.json()["00081198"], "it did not take an instance"  # Failed SOP Sequence

    def close(self) -> None:
        self._client.close()


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """One that runs until the context ends."""
    if not (PROGRAM.exists() and PLUGIN.exists()):
        pytest.skip("NOT RUN: NO ARCHIVE IS ASKED, because Orthanc is not there: `make orthanc` installs it as root")
    archive = Orthanc(folder)
    try:
        archive.start()
        yield archive
    finally:
        archive.stop()
        archive.close()

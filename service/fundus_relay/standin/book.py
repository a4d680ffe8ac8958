"""Tokens, jobs and credits in one SQLite file, so that a restart loses none."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN_LASTS_S = 2 * 3600

_TABLES = """
    create table if not exists account (remaining integer not null, token_requests integer not null default 0);
    create table if not exists token (token text primary key, valid_until real not null);
    create table if not exists job (
        id text primary key, sha256 text not null, taken real not null, username text not null,
        state text not null default 'QUEUED', picture blob, result text, message text, used_on integer
    );
    create table if not exists choice (sha256 text primary key, state text not null, result text, message text);
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One analysis that was paid."""

    id: str
    sha256: str
    state: str
    result: str | None
    message: str | None
    used_on: int | None
    username: str


class Book:
    """What the stand-in knows. Every method is one commit."""

    def __init__(self, file: Path | None, credits: int) -> None:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_TABLES)
        if self._one("select count(*) from account") == 0:
            self._db.execute("insert into account (remaining) values (?)", [credits])

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """All of it or nothing."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def _one(self, query: str, values: Sequence[object] = ()) -> int:
        row = self._db.execute(query, values).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    # --------------------------------------------------------------------------------------------------------- tokens

    def new_token(self) -> tuple[str, float]:
        token, valid_until = secrets.token_urlsafe(45), time.time() + TOKEN_LASTS_S
        with self._commit():
            self._db.execute("update account set token_requests = token_requests + 1")
            self._db.execute("insert into token values (?, ?)", [token, valid_until])
        return token, valid_until

    def is_valid(self, token: str) -> bool:
        return self._one("select count(*) from token where token = ? and valid_until > ?", [token, time.time()]) == 1

    def revoke_tokens(self) -> None:
        self._db.execute("delete from token")

    def expire_tokens(self) -> None:
        """As if their two hours were over."""
        self._db.execute("update token set valid_until = ?", [time.time()])

    # -------------------------------------------------------------------------------------------------------- credits

    @property
    def remaining(self) -> int:
        return self._one("select remaining from account")

    def set_credits(self, credits: int) -> None:
        self._db.execute("update account set remaining = ?", [credits])

    # ----------------------------------------------------------------------------------------------------------- jobs

    def take(self, picture: bytes, username: str, *, keep: bool = True) -> str | None:
        """A new job, paid with one credit; None when there is none left.

        Args:
            keep: whether the picture will be looked at; its bytes are kept until then.
        """
        job_id, digest = secrets.token_hex(35), hashlib.sha256(picture).hexdigest()
        with self._commit():
            paid = self._db.execute("update account set remaining = remaining - 1 where remaining > 0")
            if paid.rowcount < 1:
                return None
            self._db.execute(
                "insert into job (id, sha256, taken, username, picture) values (?, ?, ?, ?, ?)",
                [job_id, digest, time.time(), username, picture if keep else None],
            )
        return job_id

    def end(self, job_id: str, state: str, result: str | None, message: str | None) -> None:
        """The picture is dropped with it."""
        self._db.execute(
            "update job set state = ?, result = ?, message = ?, used_on = ?, picture = null where id = ?",
            [state, result, message, time.time_ns() // 1000, job_id],
        )

    def job(self, job_id: str) -> Job | None:
        row = self._db.execute(
            "select id, sha256, state, result, message, used_on, username from job where id = ?", [job_id]
        ).fetchone()
        return Job(*row) if row else None

    def jobs_of(self, sha256: str | None) -> Sequence[Job]:
        """Of one picture, or of all; the newest first."""
        rows = self._db.execute(
            "select id, sha256, state, result, message, used_on, username from job where ? in (sha256, '')"
            " order by taken desc, rowid desc",
            [sha256 or ""],
        )
        return [Job(*row) for row in rows]

    def picture(self, job_id: str) -> bytes | None:
        row = self._db.execute("select picture from job where id = ?", [job_id]).fetchone()
        return bytes(row[0]) if row and row[0] is not None else None

    def queued(self) -> Sequence[str]:
        return [row[0] for row in self._db.execute("select id from job where state = 'QUEUED' order by taken")]

    # -------------------------------------------------------------------------------------------------------- choices

    def choose(self, sha256: str, state: str, result: str | None, message: str | None) -> None:
        """What to answer for a picture, whatever it shows."""
        self._db.execute("insert or replace into choice values (?, ?, ?, ?)", [sha256, state, result, message])

    def choice(self, sha256: str) -> tuple[str, str | None, str | None] | None:
        row = self._db.execute("select state, result, message from choice where sha256 = ?", [sha256]).fetchone()
        return (row[0], row[1], row[2]) if row else None

    # --------------------------------------------------------------------------------------------------------- counts

    def counts(self) -> Mapping[str, object]:
        by_state = dict(self._db.execute("select state, count(*) from job group by state").fetchall())
        by_picture = dict(self._db.execute("select sha256, count(*) from job group by sha256").fetchall())
        return {
            "uploads": sum(by_picture.values()),
            "by_state": by_state,
            "by_sha256": by_picture,
            "token_requests": self._one("select token_requests from account"),
            "remaining": self.remaining,
        }

    def reset(self, credits: int) -> None:
        with self._commit():
            for table in ("job", "token", "choice"):
                self._db.execute(f"delete from {table}")  # noqa: S608 - names of our own tables
            self._db.execute("update account set remaining = ?, token_requests = 0", [credits])

"""What this version needs of the database: its migrations, and the number by which versions are told apart.

How this works. A file `NNNN_pre_name.sql` suits the code before it too, and runs before the new code;
`NNNN_post_name.sql` is for when no older code is left. The newest NNNN is the number of a version. Each connection of
ours carries it as its application_name, so that the server can tell who is connected; and `relay.floor` holds the least
number that may work here. It is raised before anybody looks who is connected, and read by each connection when it is
opened: whoever read it before was connected already, and is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

APPLICATION = "fundus-relay"

TOO_OLD = "FR001"
"""State of the error by which the database refuses a version; nobody else's. Source: PostgreSQL 16, Appendix A."""


class Phase(StrEnum):
    """When a migration may run."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of SQL that runs once."""

    name: str
    sql: str

    @property
    def number(self) -> int:
        return int(self.name[:4])

    @property
    def phase(self) -> Phase:
        return Phase(self.name.split("_")[1])


@cache
def migrations() -> Sequence[Migration]:
    """Those of this version, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(file.name, file.read_text(encoding="utf-8")) for file in files]


def newest(of: Sequence[Migration] | None = None) -> int:
    """The number of the version that has these migrations; of this one without."""
    return max(each.number for each in of or migrations())


def application_name(number: int) -> str:
    """How a connection of the version with this number is called."""
    return f"{APPLICATION} {number:04d}"


def number_of(application_name: str) -> int:
    """Of a connection's version; 0 for versions that did not tell."""
    told = application_name.removeprefix(APPLICATION).strip()
    return int(told) if told.isascii() and told.isdigit() else 0


def refuse_below_floor(number: int) -> str:
    """SQL that fails with `TOO_OLD` where versions with this number may not work any more."""
    return f"""
        do $$ begin
            if to_regclass('relay.floor') is not null then
                if exists (select 1 from relay.floor where number > {number:d}) then
                    raise exception 'version {number:04d} is too old for this database' using errcode = '{TOO_OLD}';
                end if;
            end if;
        end $$;
    """  # noqa: S608 - a number of ours

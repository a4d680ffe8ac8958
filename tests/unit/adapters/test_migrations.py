"""What the migrations say: a file of phase `pre` must let older code write, read and hurry on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fundus_relay.adapters.database.migrate import is_concurrent, statements
from fundus_relay.adapters.database.schema import Migration, Phase, migrations

PIN = Path(__file__).parents[2] / "system" / "upgrade_from.txt"
RELEASED = int(PIN.read_text().split()[-1])
"""Number of the newest migration that somebody may have applied: those up to it are as they are."""

NO_TABLE_WAS_LARGE = 8
"""Number of the newest migration from before there was a release: until then nobody waited for a lock."""

TABLE = re.compile(r"create table (?:if not exists )?(\w+)")
ALTERED = re.compile(r"alter table (?:if exists )?(?:only )?(\w+) (.*)")
INDEX = re.compile(r"create (unique )?index (concurrently )?(?:if not exists )?(\w+) on (\w+)")
DROPPED_INDEX = re.compile(r"drop index concurrently if exists (\w+)")
FILLED = re.compile(r"insert into (\w+)")
HARMLESS = re.compile(r"comment on |create (or replace )?(function|view) |create sequence ")
HARMLESS_ACTIONS = re.compile(r"alter (?:column )?\w+ (set default|drop not null|set statistics|set storage)\b|set \(")
COMPUTED = re.compile(r"\b(random|clock_timestamp|gen_random_uuid|uuid\w*|nextval|serial|bigserial|identity|stored)\b")
DROPPED = re.compile(r"drop index (?:if exists )?\w+$")
RULE = re.compile(r"\b(unique|primary key)\b")
CHECKED = re.compile(r"\b(references|check)\b")

LOCKS = "locks: "
"""What an objection begins with that is about waiting alone."""


def objections(sql: str) -> list[str]:
    """Why older code cannot live with it, or would wait for it; what is not known to be harmless is objected to."""
    said = [each.lower() for each in statements(sql)]
    new = {match[1] for each in said if (match := TABLE.match(each))}
    if is_concurrent(sql):
        return [*_of_indexes(said)]
    return [f"{why}: {each}" for each in said if (why := _objection(each, new, said))]


def _of_indexes(said: list[str]) -> Iterator[str]:
    """It runs outside a transaction, so that each index is dropped before it is made: the file may run twice."""
    dropped: set[str] = set()
    for each in said:
        if match := DROPPED_INDEX.fullmatch(each):
            dropped.add(match[1])
        elif not (match := INDEX.match(each)) or not match[2]:
            yield f"an index made concurrently has a file of its own, with no: {each}"
        elif match[1]:
            yield f"a rule that older code does not know: {each}"
        elif match[3] not in dropped:
            yield f"say `drop index concurrently if exists {match[3]}` first, of which a failed attempt is left: {each}"


def _objection(statement: str, new: set[str], said: list[str]) -> str:
    if TABLE.match(statement) or HARMLESS.match(statement):
        return ""
    if match := FILLED.match(statement):
        return "" if match[1] in new else "it fills a table that is in use"
    if match := INDEX.match(statement):
        return (
            "" if match[4] in new else f"{LOCKS}nobody writes while it is made: say concurrently, in a file of its own"
        )
    if DROPPED.match(statement):
        return f"{LOCKS}older code is slow without it: in phase post"
    if match := ALTERED.match(statement):
        if match[1] in new:
            return ""
        return next((why for action in _actions(match[2]) if (why := _objection_to_action(action, said))), "")
    return "older code may need what this changes"


def _actions(actions: str) -> list[str]:
    """Those of one `alter table`, which stand between commas outside of brackets."""
    depth, parts = 0, [""]
    for letter in actions:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [each.strip() for each in parts]


def _objection_to_action(action: str, said: list[str]) -> str:
    if match := re.match(r"add column (?:if not exists )?\w+ (.*)", action):
        return _objection_to_column(match[1])
    if match := re.match(r"drop constraint (?:if exists )?(\w+)$", action):
        is_replaced = any(re.search(rf"add constraint {match[1]} check \(.*\) not valid", each) for each in said)
        return "" if is_replaced else "a check may only be widened: made anew under its name, `not valid`"
    if match := re.match(r"add constraint (\w+) check \(.*\) not valid$", action):
        return "" if any(f"drop constraint {match[1]}" in each for each in said) else "a rule that older code breaks"
    if re.match(r"validate constraint \w+$", action):
        return "" if len(said) == 1 else f"{LOCKS}it reads the whole table under those of the others: a file of its own"
    return "" if HARMLESS_ACTIONS.match(action) else "older code may need what this changes"


def _objection_to_column(column: str) -> str:
    if RULE.search(column):
        return "a rule that older code does not know"
    if "not null" in column and " default " not in column:
        return "older code leaves it out"
    if COMPUTED.search(column):
        return f"{LOCKS}each row is written anew"
    return f"{LOCKS}the whole table is checked" if CHECKED.search(column) else ""


@pytest.mark.parametrize("migration", migrations(), ids=lambda each: each.name)
def test_a_file_says_when_it_runs_and_suits_older_code_if_that_is_before_it(migration: Migration) -> None:
    assert re.fullmatch(r"\d{4}_(pre|post)_\w+\.sql", migration.name)
    if migration.phase is Phase.PRE and migration.number > RELEASED:
        found = objections(migration.sql)
        assert [each for each in found if migration.number > NO_TABLE_WAS_LARGE or not each.startswith(LOCKS)] == []


def test_each_file_has_a_number_of_its_own() -> None:
    numbers = [each.number for each in migrations()]

    assert sorted(set(numbers)) == numbers
    assert RELEASED in numbers


@pytest.mark.parametrize(
    "sql",
    [
        "drop table study_look",
        "alter table image drop column advice",
        "alter table image rename column advice to hints",
        "alter table image rename to picture",
        "alter table image add column lane text not null",
        "alter table image add column lane text, drop column advice",
        "alter table image alter column attempt type bigint",
        "alter table image alter column advice set not null",
        "alter table image add column key uuid default gen_random_uuid()",
        "alter table image add column study_key text references study (key)",
        "alter table image add column lane text check (lane in ('urgent'))",
        "alter table image add constraint image_lane check (attempt < 5)",
        "alter table image add constraint image_lane check (attempt < 5) not valid",
        "alter table image drop constraint image_once",
        "alter table image drop constraint image_state_check;"
        " alter table image add constraint image_state_check check (state <> '')",
        "alter table image drop constraint c; alter table image add constraint c check (true) not valid;"
        " alter table image validate constraint c",
        "create index image_by_lane on image (lane)",
        "create unique index concurrently image_by_lane on image (lane)",
        "create index concurrently image_by_lane on image (lane)",
        "drop index concurrently if exists a; create index concurrently a on image (b); create table c (d text)",
        "drop index image_due",
        "drop index concurrently if exists image_due; select 1",
        "update image set advice = '[]'",
        "delete from study_look",
        "insert into account default values",
        "truncate transition",
        "lock table image",
        "create trigger t before insert on image execute function f()",
        "vacuum full image",
    ],
)
def test_what_older_code_cannot_live_with_is_objected_to(sql: str) -> None:
    assert objections(f"-- first\n{sql};\n")


@pytest.mark.parametrize(
    "sql",
    [
        "alter table image add column trace text",
        "alter table image add column lane text not null default 'usual', add column size numeric(8, 2)",
        "create table hold (id uuid primary key, image_id uuid references image);"
        " create index hold_by on hold (image_id); insert into hold default values;"
        " alter table hold add column at timestamptz not null",
        "drop index concurrently if exists image_by_lane; create index concurrently image_by_lane on image (lane)",
        "alter table transition drop constraint s;"
        " alter table transition add constraint s check (subject in ('a', 'b')) not valid",
        "alter table transition validate constraint s",
        "alter table image alter column advice drop not null",
    ],
)
def test_what_older_code_does_not_notice_is_not_objected_to(sql: str) -> None:
    assert objections(f"{sql};  -- a word; and another\n") == []

"""A file of tokens: what it may say, and what becomes of one that changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_relay import metrics
from fundus_relay.adapters.callers import FileOfCallers, Unusable, line_of
from fundus_relay.domain.access import Caller, Scope, digest

CLINIC = line_of("clinic", "first", [Scope.READ, Scope.WRITE])
CONSOLE = line_of("console", "second", [Scope.OPERATE])
WARD = line_of("ward", "third", [Scope.WRITE, Scope.URGENT])


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(CLINIC)
    return path


def test_a_token_is_known_by_its_digest_with_name_and_scopes(file: Path) -> None:
    file.write_text(f"# who may call\n\n{CLINIC} # until May\n  {CONSOLE}\n{WARD}\n")
    callers = FileOfCallers(file)

    assert callers.of("first") == Caller("clinic", frozenset({Scope.READ, Scope.WRITE}))
    assert callers.of("second") == Caller("console", frozenset({Scope.OPERATE}))
    assert callers.of(digest("first")) is None


def test_the_same_in_json(file: Path) -> None:
    file.write_text(json.dumps([{"name": "clinic", "sha256": digest("first").upper(), "scopes": ["read"]}]))

    assert FileOfCallers(file).of("first") == Caller("clinic", frozenset({Scope.READ}))


def test_as_long_as_a_file_does_not_say_who_may_be_urgent_whoever_writes_may_and_that_is_told(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file.write_text(f"{CLINIC}\n{CONSOLE}")
    callers = FileOfCallers(file, clock)

    assert callers.of("first") == Caller("clinic", frozenset({Scope.READ, Scope.WRITE, Scope.URGENT}))
    assert callers.of("second") == Caller("console", frozenset({Scope.OPERATE}))
    assert [record.getMessage() for record in caplog.records] == ["anybody-may-be-urgent"]

    file.write_text(f"{CLINIC}\n{WARD}")
    clock.now_s = 1.0
    assert callers.of("first") == Caller("clinic", frozenset({Scope.READ, Scope.WRITE}))
    assert callers.of("third") == Caller("ward", frozenset({Scope.WRITE, Scope.URGENT}))
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "names no caller"),
        ("# nobody\n", "names no caller"),
        ("[]", "names no caller"),
        (f"{CLINIC}\nclinic s3cret read", "line 2: "),
        (f"{CLINIC} operate", "line 1: "),
        (f"{CLINIC},all", "line 1: "),
        (f"{CLINIC}\n{CLINIC}", "line 2: "),
        (CLINIC.replace("clinic", "s3cret/"), "line 1: "),
        ('[{"name": "s3cret"', "is not JSON"),
        ('[{"name": "s3cret", "sha256": "s3cret", "scopes": ["read"]}]', "entry 1: "),
        ('[{"name": "s3cret", "token": "s3cret"}]', "entry 1: "),
        (f'[{{"name": "x", "sha256": "{digest("x")}", "scopes": "read"}}]', "entry 1: "),
        (f'[{{"name": "x", "sha256": "{digest("x")}", "scopes": [["read"]]}}]', "entry 1: "),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_its_place_and_not_quoted(file: Path, text: str, where: str) -> None:
    file.write_text(text)

    with pytest.raises(Unusable, match=where) as why:
        FileOfCallers(file)

    assert "s3cret" not in str(why.value)


def test_no_file_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be read"):
        FileOfCallers(tmp_path / "none")


def test_a_change_is_seen_after_a_second_and_not_looked_for_before(file: Path) -> None:
    clock = Clock()
    callers = FileOfCallers(file, clock)
    file.write_text(CONSOLE)

    clock.now_s = 0.9
    assert callers.of("first") is not None
    clock.now_s = 1.0
    assert callers.of("first") is None
    assert callers.of("second") is not None


def test_another_secret_is_put_in_place_by_a_link(tmp_path: Path) -> None:
    """As Kubernetes does it: the file's own name never changes, nor need its length or its second."""
    for version, line in (("one", CLINIC), ("two", CLINIC.replace(digest("first"), digest("third")))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tokens").write_text(line)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    clock = Clock()
    callers = FileOfCallers(tmp_path / "tokens", clock)

    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "..data")
    clock.now_s = 1

    assert callers.of("first") is None
    assert callers.of("third") is not None


@pytest.mark.parametrize("broken", ["clinic first read", "", None], ids=["broken", "empty", "gone"])
def test_a_new_file_that_cannot_be_used_changes_nothing_and_is_told_once(
    file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    callers = FileOfCallers(file, clock)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)

    for clock.now_s in (1, 2, 3):
        assert callers.of("first") is not None
    while_broken = metrics.REGISTRY.get_sample_value("fundus_relay_tokens_unusable")
    file.write_text(f"{CLINIC}\n{CONSOLE}")
    clock.now_s = 4
    assert callers.of("second") is not None

    assert (while_broken, metrics.REGISTRY.get_sample_value("fundus_relay_tokens_unusable")) == (1, 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["tokens-unusable"]

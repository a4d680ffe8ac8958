"""The README's tables, made from the code. `python -m tests.readme_tables` writes them anew."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import fundus_relay.api.errors
import fundus_relay.pipeline.operator
from fundus_relay.demonstration.stack import LocalPorts
from fundus_relay.domain.errors import RelayError
from fundus_relay.environment import variables
from fundus_relay.fhir.issue_codes import MEANING
from fundus_relay.fhir.task import REASONS, WORDS
from fundus_relay.settings import Settings
from fundus_relay.standin.settings import StandinSettings

for _module in pkgutil.walk_packages(fundus_relay.__path__, "fundus_relay."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)  # errors are defined where they are raised, too

README = Path(__file__).parent.parent / "README.md"


def settings() -> str:
    rows = [
        *_rows("FUNDUS_RELAY_", Settings),
        *_rows("FUNDUS_RELAY_LOCAL__", LocalPorts),
        *_rows("FUNDUS_RELAY_STANDIN__", StandinSettings),
    ]
    return _table(("variable", "default", "what it is"), rows)


def errors() -> str:
    """Every leaf's code and first sentence."""
    return _table(
        ("code", "what it means"), [(f"`{leaf.code}`", (leaf.__doc__ or "").split("\n")[0]) for leaf in leaves()]
    )


def issues() -> str:
    return _table(("code", "what is wrong"), [(f"`{code}`", meaning) for code, meaning in sorted(MEANING.items())])


def task() -> str:
    rows = [("business status", WORDS), ("reason", REASONS)]
    return _table(
        ("code", "where", "what it means"),
        [(f"`{code}`", where, words) for where, codes in rows for code, words in codes.items()],
    )


def leaves() -> list[type[RelayError]]:
    """Every error with a code of its own that no more special one has."""
    coded = [
        kind for kind in _below(RelayError) if "code" in kind.__dict__ and kind.__module__.startswith("fundus_relay")
    ]
    return sorted(
        (kind for kind in coded if not any(other is not kind and issubclass(other, kind) for other in coded)),
        key=lambda kind: kind.code,
    )


def _below(kind: type[RelayError]) -> Iterator[type[RelayError]]:
    for special in kind.__subclasses__():
        yield special
        yield from _below(special)


def _rows(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    for name, field in variables(model, prefix):
        yield f"`{name}`", _default(field), field.description or ""


def _default(field: FieldInfo) -> str:
    value: Any = field.default  # Any: a default is of any type
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == ():
        return "–"
    if hasattr(value, "total_seconds"):
        return f"`{value.total_seconds():g}` s"
    return f"`{value}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def written(text: str) -> str:
    """The README with every table as the code has it."""
    for name, table in {"settings": settings(), "errors": errors(), "issues": issues(), "task": task()}.items():
        pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        text = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]  # bound now
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))

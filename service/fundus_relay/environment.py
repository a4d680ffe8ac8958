"""Settings from environment variables, and one plain line for each that is missing, mistyped or wrong."""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Iterator
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

PREFIX = "FUNDUS_RELAY_"
OF_OTHER_PROGRAMS = (f"{PREFIX}LOCAL__", f"{PREFIX}STANDIN__")
"""Read, and held to their own lists, by `up` and `standin`."""

S = TypeVar("S", bound=BaseSettings)


class NotConfigured(Exception):
    """Settings that are missing, mistyped or wrong: a line for each, which names the variable and shows no value."""


def read(kind: type[S], among: type[BaseSettings] | None = None) -> S:
    """Read settings of that kind.

    Args:
        among: all that may be set, where these are a part of it.

    Raises:
        NotConfigured: any of them cannot be used, or a variable with their prefix is no setting.
    """
    prefix = str(kind.model_config.get("env_prefix"))
    fields = dict(variables(among or kind, prefix))
    wrong = [_unknown(name, fields) for name in sorted(_given(prefix)) if name.upper() not in fields]
    try:
        settings = kind()
    except SettingsError:  # a whole part in one variable, which is unknown
        if not wrong:
            raise
    except ValidationError as why:
        wrong += [line for error in why.errors(include_url=False) for line in _told(error, prefix, fields)]
    else:
        if not wrong:
            return settings
    raise NotConfigured("\n".join(dict.fromkeys(wrong)))


def variables(kind: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by the name of its variable, in the order of their definition."""
    for name, field in kind.model_fields.items():
        kinds = get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else (field.annotation,)
        part = next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if part is None:
            yield f"{prefix}{name.upper()}", field
        else:
            yield from variables(part, f"{prefix}{name.upper()}__")


def _given(prefix: str) -> Iterator[str]:
    """The variables that are meant for these settings.

    Kubernetes gives every container variables that are called after the services of its namespace.
    """
    services = [name.removesuffix("_SERVICE_HOST") for name in os.environ if name.endswith("_SERVICE_HOST")]
    others = tuple(f"{each}_{what}" for each in services for what in ("SERVICE_", "PORT_"))
    for name in os.environ:
        is_of_kubernetes = name.startswith(others) or name.removesuffix("_PORT") in services
        is_of_others = prefix == PREFIX and name.upper().startswith(OF_OTHER_PROGRAMS)
        if name.upper().startswith(prefix) and not is_of_kubernetes and not is_of_others:
            yield name


def _unknown(name: str, fields: dict[str, FieldInfo]) -> str:
    close = difflib.get_close_matches(name.upper(), fields, n=1)
    return f"{name}: is no setting; " + (f"is {close[0]} meant?" if close else "the README lists all of them")


def _told(error: ErrorDetails, prefix: str, fields: dict[str, FieldInfo]) -> list[str]:
    if error["type"] == "extra_forbidden":
        return []  # told as unknown, by the name as it was written
    path = [str(each).upper() for each in error["loc"] if isinstance(each, str)]
    names = ["__".join([prefix + path[0], *path[1:end]]) for end in range(1, len(path) + 1)]
    name = next((each for each in names if each in fields), "")
    if error["type"] == "missing":
        if name and not fields[name].is_required():  # in an entry of a list
            return [f"{name}: each entry needs {path[-1].lower()}"]
        needed = [each for each, field in fields.items() if field.is_required()]
        return [f"{each}: is required" for each in needed if each == name or each.startswith(f"{names[-1]}__")]
    return [f"{name}: {error['msg'].removeprefix('Value error, ')}"]

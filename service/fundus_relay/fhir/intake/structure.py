"""Whether a resource has the shape that FHIR R4 gives its type, before anything else is asked of it.

How this works: `fhir.resources` knows every element, and checks required elements, choices and the forms of most
primitives. It does not check value sets, reference targets, invariants or white space in URIs, and takes strings of
JSON for objects and strings for numbers; so a walk along its own tables comes first. The walk hands out the references
it meets, with the types they may point to, and the parts that have invariants, which are asked when all else is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel, ValidationError

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .elements import OF_ITS_TYPE, Choice, Element, is_unread, model_of, table_of
from .invariants import RESOURCE, check_invariants, has_invariants
from .parsing import GATHERED, under

_NOT_UNDERSTOOD = frozenset({"modifierExtension", "implicitRules"})
"""May change what everything else means. Source: FHIR R4 4.0.1, extensibility, "Modifier Extensions"."""


_EMPTY = "ele-1: give the element a value or other elements, or leave it out"


@dataclass(frozen=True, slots=True)
class Pointer:
    """A reference that a resource holds.

    Attributes:
        element: FHIRPath of it.
        targets: types that it may point to; `Resource` is any.
    """

    element: str
    reference: Json
    targets: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a resource that has invariants; `kind` is its class."""

    kind: str
    content: Json
    element: str


def examine_structure(resource: Json, element: str) -> tuple[list[Issue], list[Pointer]]:
    """What is wrong with a resource of a type that R4 knows, and what it refers to.

    Args:
        element: FHIRPath of the resource.

    Returns:
        `GATHERED` issues at most, and all pointers of a resource with which nothing is wrong.
    """
    model = get_fhir_model_class(resource["resourceType"])
    issues: list[Issue] = []
    pointers: list[Pointer] = []
    parts = [_Part(RESOURCE, resource, element)]
    for found in _walk(model, resource, element):
        if isinstance(found, Pointer):
            pointers.append(found)
        elif isinstance(found, _Part):
            parts.append(found)
        elif len(issues) < GATHERED:
            issues.append(found)
        else:
            break
    if not issues:
        try:
            model.model_validate(_readable(resource, parts))
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_context=False, include_input=False)
            issues = [_issue(error["type"], error["loc"], model, element) for error in errors[:GATHERED]]
    if not issues:
        broken = (check_invariants(part.kind, part.content, part.element) for part in parts)
        issues = list(islice(chain.from_iterable(broken), GATHERED))
    return issues, pointers


def _readable(resource: Json, parts: Iterable[_Part]) -> Json:
    """The resource without what the library's models do not read, if it has any of that."""
    unread = {id(part.content): part.kind for part in parts if any(is_unread(part.kind, key) for key in part.content)}

    def copied(part: Any) -> Any:  # Any: parsed JSON
        if isinstance(part, list):
            return [copied(item) for item in part]
        if not isinstance(part, dict):
            return part
        return {key: copied(value) for key, value in part.items() if not is_unread(unread.get(id(part), ""), key)}

    whole: Json = copied(resource) if unread else resource
    return whole


def _walk(model: type[BaseModel], data: Json, path: str) -> Iterator[Issue | Pointer | _Part]:
    if not data or (data.keys() == {"id"} and model.__name__ != "FHIRPrimitiveExtension"):
        yield Issue(path, "invariant", _EMPTY, "element-empty")
        return
    if has_invariants(model.__name__):
        yield _Part(model.__name__, data, path)
    table = table_of(model)
    for key in table.required:
        if key not in data and f"_{key}" not in data:
            yield Issue(f"{path}.{key}", "required", "the element is required", "element-missing")
    for choice in table.choices:
        yield from _check_choice(choice, data, path)
    for key in data:
        if key == "resourceType":
            continue
        if key in _NOT_UNDERSTOOD:
            text = "this may change what all else means: send the resource without it, if it is true without it"
            yield Issue(under(path, key), "not-supported", text, "modifier-unknown")
        elif key in table.elements:
            yield from _check_element(table.elements[key], key, data, f"{path}.{key}")
        else:
            yield Issue(under(path, key), "structure", "FHIR R4 has no such element here", "element-unknown")


def _check_choice(choice: Choice, data: Json, path: str) -> Iterator[Issue]:
    given = {key.removeprefix("_") for key in data} & choice.elements
    if len(given) > 1:
        yield Issue(path, "invariant", f"give only one of {' and '.join(sorted(given))}", "choice-ambiguous")
    elif choice.is_required and not given:
        yield Issue(f"{path}.{choice.name}", "required", "the element is required", "element-missing")


def _check_element(known: Element, key: str, data: Json, path: str) -> Iterator[Issue | Pointer | _Part]:
    value = data[key]
    if isinstance(value, list) is not known.is_list:
        wanted = "a list" if known.is_list else "no list"
        yield Issue(path, "structure", f"the element must be {wanted}", "shape-wrong")
        return
    if value == []:
        yield Issue(path, "invariant", _EMPTY, "element-empty")
    for index, item in enumerate(value if known.is_list else [value]):
        place = f"{path}[{index}]" if known.is_list else path
        if item is None and known.is_list and (known.model is None or key.startswith("_")):
            yield from _check_gap(data, key, index, place)
        elif key.startswith("_") and isinstance(item, dict) and item.keys() == {"id"} and not _twin(data, key, index):
            yield Issue(place, "invariant", _EMPTY, "element-empty")
        else:
            yield from _check_value(known, item, place)


def _check_gap(data: Json, key: str, index: int, path: str) -> Iterator[Issue]:
    """A null of a list holds the place of a value that has extensions alone, or of extensions that a value has not.

    Source: FHIR R4 4.0.1, json, "JSON representation of primitive elements".
    """
    is_first = not key.startswith("_") or key[1:] not in data  # of two gaps at one place the value's is named
    if is_first and _twin(data, key, index) is None:
        yield Issue(path, "invariant", _EMPTY, "element-empty")


def _twin(data: Json, key: str, index: int) -> Any:  # Any: parsed JSON
    """What stands at the same place beside a value or beside extensions: the extensions, or the value."""
    beside = data.get(key[1:] if key.startswith("_") else f"_{key}")
    if isinstance(beside, list):
        return beside[index] if index < len(beside) else None
    return beside


def _check_value(known: Element, item: Any, path: str) -> Iterator[Issue | Pointer | _Part]:  # Any: parsed JSON
    if known.model is None:
        if not isinstance(item, known.json_types) or (isinstance(item, bool) and bool not in known.json_types):
            yield Issue(path, "value", known.json_advice, "value-invalid")
        elif known.allowed is not None and not known.allowed.has(str(item)):
            kind = "code-invalid" if known.allowed.code == "code-unknown" else "value"
            yield Issue(path, kind, known.allowed.advice, known.allowed.code)
    elif not isinstance(item, dict):
        yield Issue(path, "structure", "the element must be an object", "shape-wrong")
    elif known.is_resource:
        yield from _check_contained(item, path)
    else:
        if known.targets:
            yield Pointer(path, item, known.targets)
        yield from _walk(known.model, item, path)


def _check_contained(resource: Json, path: str) -> Iterator[Issue | Pointer | _Part]:
    model = model_of(resource.get("resourceType"))
    if model is None:
        yield Issue(f"{path}.resourceType", "structure", "FHIR R4 has no such resource", "type-unknown")
    else:
        yield from _walk(model, resource, path)


def _issue(kind: str, location: tuple[int | str, ...], model: type[BaseModel], element: str) -> Issue:
    """One of the library's errors in our words: its own texts may repeat what a patient's record holds."""
    path, holder, known = element, model, None
    for step in location:
        if isinstance(step, int):
            path = f"{path}[{step}]"
        elif step != "root":
            path = under(path, step)
            known = table_of(holder).elements.get(step)
            holder = known.model if known is not None and known.model is not None else BaseModel
    if kind.endswith("missing"):
        return Issue(path, "required", "the element is required", "element-missing")
    return Issue(path, "value", known.form if known is not None else OF_ITS_TYPE, "value-invalid")

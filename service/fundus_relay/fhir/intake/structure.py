"""Whether a resource has the shape that FHIR R4 gives its type, before anything else is asked of it.

How this works: `fhir.resources` knows every element, and checks required elements, choices and the forms of most
primitives. It does not check value sets, reference targets, invariants or white space in URIs, and takes strings of
JSON for objects and strings for numbers; so a walk along its own tables comes first. The walk hands out the references
it meets, with the types they may point to, and the parts that have invariants, which are asked when all else is right.

Source: FHIR R4 4.0.1, through fhir.resources 8.3.0, R4B (the same elements in the types we take), and `definitions`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import chain, islice
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.fhirtypes import ResourceType
from fhir.resources.R4B.reference import Reference
from pydantic import BaseModel, ValidationError

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .definitions import Allowed, allowed, is_type, targets
from .invariants import check_invariants, has_invariants
from .parsing import GATHERED, under

_PATIENT_ALONE = {"Media.subject": frozenset({"Patient"})}
"""Narrower than R4: a report needs a patient."""

_NOT_UNDERSTOOD = frozenset({"modifierExtension", "implicitRules"})
"""May change what everything else means. Source: FHIR R4 4.0.1, extensibility, "Modifier Extensions"."""

_JSON_TYPES: dict[object, tuple[type, ...]] = {bool: (bool,), int: (int,), Decimal: (int, float)}


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


@dataclass(frozen=True, slots=True)
class _Element:
    """What a type's table says of one of its elements.

    Attributes:
        model: of what it holds; None for a primitive.
        json_types: what a primitive looks like in JSON.
        allowed: what the text of a primitive may be.
        targets: of a reference.
    """

    is_list: bool
    model: type[BaseModel] | None
    is_resource: bool
    json_types: tuple[type, ...]
    allowed: Allowed | None
    targets: frozenset[str]
    is_required: bool


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
    parts: list[_Part] = []
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
            model.model_validate(resource)
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_context=False, include_input=False)
            issues = [_issue(error["type"], error["loc"], element) for error in errors[:GATHERED]]
    if not issues:
        broken = (check_invariants(part.kind, part.content, part.element) for part in parts)
        issues = list(islice(chain.from_iterable(broken), GATHERED))
    return issues, pointers


def _walk(model: type[BaseModel], data: Json, path: str) -> Iterator[Issue | Pointer | _Part]:
    if not data or (data.keys() == {"id"} and model.__name__ != "FHIRPrimitiveExtension"):
        yield Issue(path, "invariant", "ele-1: an element has a value or other elements", "element-empty")
        return
    if has_invariants(model.__name__):
        yield _Part(model.__name__, data, path)
    table = _table(model)
    for key, known in table.items():
        if known.is_required and key not in data and f"_{key}" not in data:
            yield Issue(f"{path}.{key}", "required", "the element is required", "element-missing")
    for key in data:
        if key == "resourceType":
            continue
        if key in _NOT_UNDERSTOOD:
            yield Issue(under(path, key), "not-supported", "this may change what all else means", "modifier-unknown")
        elif key in table:
            yield from _check_element(table[key], key, data, f"{path}.{key}")
        else:
            yield Issue(under(path, key), "structure", "FHIR R4 has no such element here", "element-unknown")


def _check_element(known: _Element, key: str, data: Json, path: str) -> Iterator[Issue | Pointer | _Part]:
    value = data[key]
    if isinstance(value, list) is not known.is_list:
        wanted = "a list" if known.is_list else "no list"
        yield Issue(path, "structure", f"the element must be {wanted}", "shape-wrong")
        return
    if value == []:
        yield Issue(path, "invariant", "ele-1: an element must not be empty", "element-empty")
    for index, item in enumerate(value if known.is_list else [value]):
        place = f"{path}[{index}]" if known.is_list else path
        if item is None and known.is_list and (known.model is None or key.startswith("_")):
            yield from _check_gap(data, key, index, place)
        else:
            yield from _check_value(known, item, place)


def _check_gap(data: Json, key: str, index: int, path: str) -> Iterator[Issue]:
    """A null of a list holds the place of a value that has extensions alone, or of extensions that a value has not.

    Source: FHIR R4 4.0.1, json, "JSON representation of primitive elements".
    """
    twin = data.get(key[1:] if key.startswith("_") else f"_{key}")
    is_filled = isinstance(twin, list) and index < len(twin) and twin[index] is not None
    if not is_filled and (twin is None or not key.startswith("_")):
        yield Issue(path, "invariant", "ele-1: an element must not be empty", "element-empty")


def _check_value(known: _Element, item: Any, path: str) -> Iterator[Issue | Pointer | _Part]:  # Any: parsed JSON
    if known.model is None:
        if not isinstance(item, known.json_types) or (isinstance(item, bool) and bool not in known.json_types):
            yield Issue(path, "value", "the value has not the JSON type that FHIR gives it", "value-invalid")
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


def model_of(kind: object) -> type[BaseModel] | None:
    """The library's class for a resource type, or None when R4 has no such type."""
    return get_fhir_model_class(kind) if isinstance(kind, str) and is_type(kind) else None


@cache
def _table(model: type[BaseModel]) -> dict[str, _Element]:
    return {
        field.alias or name: _element(model, field.alias or name, field)
        for name, field in model.model_fields.items()
        if name not in {"fhir_comments", "resource_type"}
    }


def _element(model: type[BaseModel], name: str, field: Any) -> _Element:  # Any: pydantic's FieldInfo, read only
    annotation, is_list = _unwrapped(field.annotation)
    extra = field.json_schema_extra or {}
    holds = annotation.get_model_klass() if hasattr(annotation, "get_model_klass") else None
    key = f"{model.__name__}.{name}"
    return _Element(
        is_list=is_list,
        model=holds,
        is_resource=annotation is ResourceType,
        json_types=_JSON_TYPES.get(_primitive(annotation), (str,)),
        allowed=allowed(key, _fhir_type(annotation)),
        targets=_PATIENT_ALONE.get(key) or targets(key) if holds is Reference else frozenset(),
        is_required=bool(extra.get("element_required")) or field.is_required(),
    )


def _unwrapped(annotation: Any) -> tuple[Any, bool]:  # Any: a type annotation
    """The annotation without Optional and List, and whether it had a List."""
    is_list = False
    while typing.get_origin(annotation) is not typing.Annotated:
        inner = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(inner) != 1:
            break
        is_list = is_list or typing.get_origin(annotation) is list
        annotation = inner[0]
    return annotation, is_list


def _primitive(annotation: Any) -> object:  # Any: a type annotation
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _fhir_type(annotation: Any) -> str | None:  # Any: a type annotation
    """FHIR's name of a primitive, as the library marks it."""
    return getattr(typing.get_args(annotation)[-1], "__visit_name__", None) if typing.get_args(annotation) else None


def _issue(kind: str, location: tuple[int | str, ...], element: str) -> Issue:
    """One of the library's errors in our words: its own texts may repeat what a patient's record holds."""
    path = element
    for step in location:
        if step != "root":
            path = f"{path}[{step}]" if isinstance(step, int) else under(path, step)
    if kind.endswith("missing"):
        return Issue(path, "required", "the element is required", "element-missing")
    if path == element:
        return Issue(path, "invariant", "only one of an element's choices may be given", "choice-ambiguous")
    return Issue(path, "value", "the value has not the form that its type asks for", "value-invalid")

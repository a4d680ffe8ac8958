"""The elements that a type has, by the tables of `fhir.resources` and HL7's definitions.

Source: FHIR R4 4.0.1, through fhir.resources 8.3.0, R4B (the same elements in the types we take), and `definitions`.
"""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.extension import Extension
from fhir.resources.R4B.fhirprimitiveextension import FHIRPrimitiveExtension
from fhir.resources.R4B.fhirtypes import ResourceType
from fhir.resources.R4B.meta import Meta
from fhir.resources.R4B.reference import Reference
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .definitions import Allowed, allowed, is_type, targets

_PATIENT_ALONE = {"Media.subject": frozenset({"Patient"})}
"""Narrower than R4: a report needs a patient."""

_JSON_TYPES: dict[object, tuple[type, ...]] = {bool: (bool,), int: (int,), Decimal: (int, float)}
_WRITE = {
    bool: "write true or false, without quotes",
    int: "write a number, without quotes",
    str: "write a text in quotes",
}
OF_ITS_TYPE = "write what the type of the element asks for"
_FORMS = {
    "base64Binary": "write base64 of the standard alphabet, padded",
    "code": "write a code: no white space around it, single spaces within",
    "date": "write a date that exists, such as 2024-05-02, 2024-05 or 2024",
    "dateTime": "write a date, or a time with its zone, such as 2024-05-02T09:30:00+02:00",
    "id": "write an id: letters, digits, - and ., 64 at most",
    "instant": "write a time to the second with its zone, such as 2024-05-02T09:30:00+02:00",
    "oid": "write an OID, such as urn:oid:1.2.3",
    "positiveInt": "write a whole number above zero",
    "string": "write a text that is not empty",
    "time": "write a time of day, such as 09:30:00",
    "unsignedInt": "write a whole number, zero or more",
}
"""What to write where the library's model says that a primitive has not its form."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type.

    Attributes:
        model: of what it holds; None for a primitive.
        json_types: what a primitive looks like in JSON.
        allowed: what the text of a primitive may be.
        form: what to write where a primitive has not its form.
        targets: of a reference.
    """

    is_list: bool
    model: type[BaseModel] | None
    is_resource: bool
    json_types: tuple[type, ...]
    allowed: Allowed | None
    form: str
    targets: frozenset[str]
    is_required: bool

    @property
    def json_advice(self) -> str:
        """What to write where JSON has another type."""
        return _WRITE[self.json_types[0]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Elements of which one may stand, as `value[x]`."""

    name: str
    elements: frozenset[str]
    is_required: bool


@dataclass(frozen=True, slots=True)
class Table:
    """All elements of a type by their names in JSON."""

    elements: dict[str, Element]
    required: tuple[str, ...]
    choices: tuple[Choice, ...]


def model_of(kind: object) -> type[BaseModel] | None:
    """The library's class for a resource type, or None when R4 has no such type."""
    return get_fhir_model_class(kind) if isinstance(kind, str) and is_type(kind) else None


def is_unread(model_name: str, name: str) -> bool:
    """Whether the library's model would refuse a valid element.

    Its Extension has neither extensions of a primitive value, as for the translation of a text, nor `valueMeta`, and
    takes UUIDs of version 4 alone.
    """
    return model_name == "Extension" and (name.startswith("_value") or name in {"valueMeta", "valueUuid"})


@cache
def table_of(model: type[BaseModel]) -> Table:
    """What the type that a model stands for may hold."""
    fields = {field.alias or name: field for name, field in model.model_fields.items() if name not in _NOT_OF_FHIR}
    elements = {name: _element(model, name, field) for name, field in fields.items()}
    if model is Extension:
        primitives = [name for name, each in elements.items() if each.model is None and name.startswith("value")]
        elements |= {f"_{name}": _part(FHIRPrimitiveExtension) for name in primitives}
        elements["valueMeta"] = _part(Meta)
    required = tuple(name for name, element in elements.items() if element.is_required)
    return Table(elements, required, tuple(_choices(fields)))


def _part(model: type[BaseModel]) -> Element:
    return Element(
        is_list=False,
        model=model,
        is_resource=False,
        json_types=(str,),
        allowed=None,
        form=OF_ITS_TYPE,
        targets=frozenset(),
        is_required=False,
    )


_NOT_OF_FHIR = frozenset({"fhir_comments", "resource_type"})


def _choices(fields: dict[str, FieldInfo]) -> Iterator[Choice]:
    names: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
    for name, field in fields.items():
        if choice := _marks(field).get("one_of_many"):
            names[choice, _marks(field)["one_of_many_required"]].add(name)
    for (choice, is_required), elements in names.items():
        yield Choice(choice, frozenset(elements), is_required)


def _element(model: type[BaseModel], name: str, field: FieldInfo) -> Element:
    annotation, is_list = _unwrapped(field.annotation)
    holds = annotation.get_model_klass() if hasattr(annotation, "get_model_klass") else None
    key, primitive = f"{model.__name__}.{name}", _fhir_type(annotation)
    return Element(
        is_list=is_list,
        model=holds,
        is_resource=annotation is ResourceType,
        json_types=_JSON_TYPES.get(_python_type(annotation), (str,)),
        allowed=allowed(key, primitive),
        form=_FORMS.get(primitive or "", OF_ITS_TYPE),
        targets=_PATIENT_ALONE.get(key) or targets(key) if holds is Reference else frozenset(),
        is_required=bool(_marks(field).get("element_required")) or field.is_required(),
    )


def _marks(field: FieldInfo) -> dict[str, Any]:  # Any: whatever the library notes
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


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


def _python_type(annotation: Any) -> object:  # Any: a type annotation
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _fhir_type(annotation: Any) -> str | None:  # Any: a type annotation
    """FHIR's name of a primitive, as the library marks it."""
    return getattr(typing.get_args(annotation)[-1], "__visit_name__", None) if typing.get_args(annotation) else None

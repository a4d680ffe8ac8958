"""HL7's definitions and the library's models name the same elements, so that no rule is looked up in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.reference import Reference
from pydantic import BaseModel

from fundus_relay.fhir.intake import structure
from fundus_relay.fhir.intake.elements import table_of
from fundus_relay.fhir.intake.invariants import _OF, RESOURCE
from fundus_relay.fhir.intake.rules import TYPES

TABLES = json.loads((files(structure.__package__) / "r4_tables.json").read_text())


def reached(model: type[BaseModel], known: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """All classes that a resource is made of."""
    if model not in known:
        known.add(model)
        for element in table_of(model).elements.values():
            if element.model is not None and not element.is_resource:
                reached(element.model, known)
    return known


MODELS = set[type[BaseModel]]().union(*(reached(get_fhir_model_class(kind), set()) for kind in (*TYPES, "Bundle")))
ELEMENTS = {f"{model.__name__}.{name}" for model in MODELS for name in table_of(model).elements}

REFERENCES = {
    f"{model.__name__}.{name}"
    for model in MODELS
    for name, element in table_of(model).elements.items()
    if element.model is Reference
}


def stated(section: str) -> list[str]:
    """What the tables say of the classes that our types are made of."""
    names = {model.__name__ for model in MODELS}
    return [name for name in TABLES[section] if name.partition(".")[0] in names]


def library(mark: str) -> Iterator[tuple[str, Any]]:
    """Elements that the library's own tables mark, with the mark."""
    for model in MODELS:
        for name, field in model.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and mark in extra:
                yield f"{model.__name__}.{field.alias or name}", extra[mark]


@pytest.mark.parametrize("section", ["bound", "targets"])
def test_an_element_of_the_tables_is_one_of_the_models(section: str) -> None:
    assert len(stated(section)) > 50
    assert [name for name in stated(section) if name not in ELEMENTS] == []


def test_a_reference_points_where_the_models_say() -> None:
    marked = {name: sorted(set(types)) for name, types in library("enum_reference_types") if name in REFERENCES}

    assert len(marked) > 50
    assert marked == {name: TABLES["targets"][name] for name in marked}


def test_a_code_that_the_models_know_values_of_is_one_of_the_tables() -> None:
    assert [name for name, _ in library("enum_values") if name not in TABLES["bound"]] == []


def test_an_invariant_stands_under_a_class_of_the_models() -> None:
    assert set(_OF) - {RESOURCE} <= {model.__name__ for model in MODELS}

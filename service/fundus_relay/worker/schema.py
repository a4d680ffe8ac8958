"""The engine's tables, as SQL that `adapters.database.migrate` applies."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from procrastinate.schema import SchemaManager

from fundus_relay.adapters.database.migrate import EngineSchema


def engine_schema() -> EngineSchema:
    """The schema of the installed engine, and the steps towards it from every older one."""
    steps = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return EngineSchema(
        whole=(resources.files("procrastinate.sql") / "schema.sql").read_text(encoding="utf-8"),
        steps={step.name: step.read_text(encoding="utf-8") for step in steps},
    )

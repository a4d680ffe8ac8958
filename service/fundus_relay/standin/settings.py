"""Settings of the stand-in: prefix `FUNDUS_RELAY_STANDIN__`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class StandinSettings(BaseSettings):
    """What the stand-in is and how it misbehaves."""

    model_config = SettingsConfigDict(env_prefix="FUNDUS_RELAY_STANDIN__", frozen=True, hide_input_in_errors=True)

    username: str = Field("demo", description="the stand-in's account")
    password: SecretStr = Field(SecretStr("demo"), description="the stand-in's account")
    state: Path | None = Field(None, description="the stand-in's SQLite file; without it all is forgotten at the end")
    credits: int = Field(1000, ge=0, description="the stand-in's credits when its file is new")
    analyser: Literal["network", "instant", "crowded"] = Field(
        "network",
        description="for measurements, without a look at any pixel: `instant` calls every picture normal,"
        " `crowded` finds a hundred lesions in each",
    )
    analysis_s: float = Field(0.0, ge=0, description="seconds that the stand-in lets every analysis last at least")
    results: Literal["document", "well-formed", "typographic"] = Field(
        "document",
        description="shape of the stand-in's results: malformed as in the document, mended, or with its quotes",
    )
    status_shape: Literal["statusJob", "status"] = Field(
        "statusJob", description="where the stand-in's getStatus puts the state of a job that ended"
    )
    latency_s: float = Field(0.0, ge=0, description="seconds that the stand-in waits before every answer")
    error_rate: float = Field(0.0, ge=0, le=1, description="share of the stand-in's answers that are errors (500)")
    seed: int = Field(0, description="of the stand-in's chance")

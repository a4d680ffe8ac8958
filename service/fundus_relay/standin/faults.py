"""How the stand-in misbehaves: for the next n calls, or by chance."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .settings import StandinSettings

Endpoint = Literal["getToken", "doAnalysis", "getStatus", "getResult"]
Counted = Literal["drop_before", "drop_after", "silent_after", "unavailable", "error", "hold", "stuck", "fail"]


class Faults(BaseModel):
    """What goes wrong from now on. A count goes down with each strike; a share, the latency and `endpoints` stay."""

    model_config = ConfigDict(extra="forbid")

    endpoints: frozenset[Endpoint] = Field(
        frozenset(), description="only these are hit by latency_s, the shares, `unavailable`, `error`; all when empty"
    )
    latency_s: float = Field(0.0, ge=0, description="before every answer")
    error_rate: float = Field(0.0, ge=0, le=1, description="share of answers with body status 500")
    unavailable_rate: float = Field(0.0, ge=0, le=1, description="share of answers with HTTP 503")
    unavailable: int = Field(0, ge=0, description="HTTP 503")
    error: int = Field(0, ge=0, description="body status 500")
    drop_before: int = Field(0, ge=0, description="the connection is cut before the job is taken")
    drop_after: int = Field(0, ge=0, description="the connection is cut after the job was taken and paid")
    silent_after: int = Field(
        0, ge=0, description="no answer, while the caller waits, after the job was taken and paid"
    )
    hold: int = Field(0, ge=0, description="the job goes on HOLD")
    stuck: int = Field(0, ge=0, description="the job stays QUEUED until a restart")
    fail: int = Field(0, ge=0, description="the job ends with ERROR")

    @classmethod
    def by(cls, settings: StandinSettings) -> Faults:
        """Those that the settings ask for."""
        return cls(latency_s=settings.latency_s, error_rate=settings.error_rate)

    def hit(self, endpoint: str) -> bool:
        """Whether they concern this call."""
        return not self.endpoints or endpoint in self.endpoints

    def strikes(self, name: Counted) -> bool:
        """Whether this fault strikes now; counts it."""
        left: int = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return left > 0

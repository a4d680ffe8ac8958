"""The machine's clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class SystemClock:
    """See `ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, span: timedelta) -> None:
        await asyncio.sleep(span.total_seconds())

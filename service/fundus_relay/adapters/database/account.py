"""The analyser's account, as far as it is known here; see `ports.Account` for what each method promises."""

from __future__ import annotations

from datetime import datetime

from fundus_relay.domain.credits import Credits
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import CreditMark
from fundus_relay.pipeline.ports import Job

from .commit import Commit
from .statements import FOR_CREDITS

KNOWN = "case when exhausted_at >= coalesce(remaining_at, exhausted_at) then 0 else remaining end"
"""Credits as last told; none since the analyser said so."""

SPEND = """
    insert into credits_spent (hour, number) values (date_trunc('hour', %(now)s::timestamptz), 1)
        on conflict (hour) do update set number = credits_spent.number + 1
"""

ACCOUNT = f"""
    select {KNOWN} as remaining, greatest(remaining_at, exhausted_at) as remaining_at, possibly_double_spent,
           spent.day as spent_in_a_day, spent.week as spent_in_a_week
      from account,
           lateral (select coalesce(sum(number) filter (where hour > now() - interval '1 day'), 0)::int as day,
                           coalesce(sum(number), 0)::int as week
                      from credits_spent where hour > now() - interval '7 days') as spent
     where name = 'analyser'
"""  # noqa: S608 - of a constant
"""Two rows of an account and a week's hours: no history is read."""

_MARK = """
    select coalesce(shared.mark, jsonb_build_object('remaining', remaining, 'confirmed', confirmed)) as mark
      from account left join
           (select coalesce(credit_mark, '{"remaining": null, "confirmed": 0}') as mark
              from image where state = 'sending'
             order by credit_mark->>'remaining' is null, (credit_mark->>'confirmed')::bigint desc limit 1
           ) as shared on true
     where name = 'analyser'
"""
"""One statement, so that an upload which ends meanwhile is either under way or counted as confirmed, never neither."""


class PostgresAccount:
    """See `ports.Account`."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit

    async def mark_credits(self) -> CreditMark:
        rows = await self._commit.rows(_MARK)
        return CreditMark(**rows[0]["mark"])

    async def uploads_confirmed(self) -> int:
        rows = await self._commit.rows("select confirmed from account where name = 'analyser'")
        return int(rows[0]["confirmed"])

    async def confirm_upload(self, remaining: int | None) -> None:
        await self._commit.send(
            "update account set confirmed = confirmed + 1, remaining = least(remaining, %(told)s::int),"
            " remaining_at = case when remaining < %(told)s::int or %(told)s::int is null then remaining_at"
            " else %(now)s end"
            " where name = 'analyser'",
            {"told": remaining, "now": self._commit.clock.now()},
        )
        await self._commit.send(SPEND, {"now": self._commit.clock.now()})

    async def uploads_under_way(self) -> int:
        rows = await self._commit.rows(
            "select count(*) as sending from image where state = 'sending' and due_at is null"
        )
        return int(rows[0]["sending"])

    async def credits(self) -> Credits:
        rows = await self._commit.rows(
            f"select {KNOWN} as remaining, (select count(*) from image where state = 'sending') as under_way"  # noqa: S608 - of a constant
            " from account where name = 'analyser'"
        )
        return Credits(**rows[0])

    async def note_exhausted(self) -> None:
        await self._commit.send(
            "update account set exhausted_at = %s where name = 'analyser'", [self._commit.clock.now()]
        )

    async def forget_credits(self, *, told_before: datetime) -> None:
        await self._commit.send(
            "update account set remaining = null, remaining_at = null, exhausted_at = null"
            " where name = 'analyser' and greatest(remaining_at, exhausted_at) < %s",
            [told_before],
        )

    async def images_let_go(self) -> int:
        rows = await self._commit.rows(f"select count(*) as number from image where {FOR_CREDITS} and due_at is null")  # noqa: S608 - constant
        return int(rows[0]["number"])

    async def let_go(self, urgency: Urgency, most: int) -> int:
        rows = await self._commit.rows(
            "update image set due_at = null where id in (select id from image"  # noqa: S608 - of a constant
            f" where {FOR_CREDITS} and due_at is not null and urgency = %s order by place limit %s"
            " for no key update skip locked) returning *",
            [urgency, most],
        )
        self._commit.see(*rows)
        for row in rows:
            await self._commit.enqueue(Job.IMAGE, str(row["id"]))
        return len(rows)

    async def count_double_spend(self) -> None:
        await self._commit.send(
            "update account set possibly_double_spent = possibly_double_spent + 1 where name = 'analyser'"
        )

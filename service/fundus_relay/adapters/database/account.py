"""What is known of the analyser's account, in SQL."""

from __future__ import annotations

KNOWN = "case when exhausted_at >= coalesce(remaining_at, exhausted_at) then 0 else remaining end"
"""Credits as last told; none since the analyser said so."""

FOR_CREDITS = "state = 'prepared' and reason in ('analyser-credits-exhausted', 'analyser-credits-reserved')"
"""What waits for credits, or was let go and is not sent yet. As the indexes have it: `domain.errors.HELD`."""

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

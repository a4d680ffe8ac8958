"""Why the database did not do what it was asked for, in words for an operator.

How this works. What the server says of itself, and what the driver says of a connection that was not to be had, name
hosts, roles, databases and tables, and no row's data: only errors about the account, the way or the server itself are
quoted (`pool.PASSING`). Of an URL they quote what they take for the host; settings see to it that no part of a password
can be that.

Source: observed with PostgreSQL 16 and psycopg 3.3.
"""

from __future__ import annotations

import psycopg

_WORDS_OF_DRIVER = ("connection failed: ", "connection is bad: ")


def reason(error: psycopg.Error) -> str:
    """The first line of what is said, without the password should it be in there."""
    told = error.diag.message_primary or str(error)
    line = (told.strip().splitlines() or [""])[0].strip()
    for words in _WORDS_OF_DRIVER:
        line = line.removeprefix(words)
    password = error.pgconn.password.decode("utf-8", "replace") if error.pgconn is not None else ""
    line = line.replace(password, "***") if password else line
    return line or type(error).__name__

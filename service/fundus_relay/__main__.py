"""The command line. What each command does is in `commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fundus_relay import __version__

NAMED = (
    "of a Media, Task, ImagingStudy, DiagnosticReport (ours or the EHR's), image, delivery or acquisition; or Type/id,"
    " such as Patient/7 for all studies of a patient that are here"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrongly called or configured; `migrate` has more."""
    command = _parser().parse_args(arguments)
    from fundus_relay import commands  # what is imported for `--help` is waited for
    from fundus_relay.environment import NotConfigured

    try:
        return int(command.run(commands, command) or 0)
    except NotConfigured as why:
        for line in str(why).splitlines():
            print(f"fundus-relay: {line}", file=sys.stderr)
        return 2
    except commands.Failed as why:
        print(f"fundus-relay: {why}", file=sys.stderr)
        return why.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read on has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fundus-relay", description=__doc__)
    parser.add_argument("--version", action="version", version=f"fundus-relay {__version__}")
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = parsers.add_parser("serve", help="the service: FHIR endpoint and worker")
    serve.add_argument("--only", choices=("api", "worker"), help="one of the two alone")
    serve.set_defaults(run=lambda commands, given: commands.serve(only=given.only))

    migrate = parsers.add_parser("migrate", help="bring the database's tables up to date, and end")
    migrate.add_argument(
        "--phase",
        choices=("pre", "post"),
        default="pre",
        help="pre (the default): what older versions can live with; post: the rest, once none of them runs",
    )
    migrate.add_argument("--check", action="store_true", help="change nothing; print what both phases would do")
    migrate.set_defaults(
        run=lambda commands, given: commands.show_pending() if given.check else commands.migrate_database(given.phase)
    )

    token = parsers.add_parser("token", help="a new bearer token for a caller, and its line for the file of tokens")
    token.add_argument("name", help="of the caller, as logs show it")
    scopes = ("read", "write", "urgent", "operate")
    token.add_argument("--scopes", nargs="+", choices=scopes, default=["read", "write"], help="what it may do")
    token.set_defaults(run=lambda commands, given: commands.make_token(given.name, given.scopes))

    parked = parsers.add_parser("parked", help="what waits for a person or by itself, and why")
    parked.set_defaults(run=lambda commands, _: commands.show_parked())

    release = parsers.add_parser("release", help="let what is parked, or waits, try again now")
    which = release.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="as `parked` shows it")
    which.add_argument("--reason", metavar="CODE", help="all that is parked or waits for this reason")
    which.add_argument("--all", action="store_true", help="all that is parked")
    release.add_argument("--pay-again", action="store_true", help="send an image anew although it may have been paid")
    release.set_defaults(
        run=lambda commands, given: commands.release(given.id, reason=given.reason, pay_again=given.pay_again)
    )

    _add_retention(parsers)

    standin = parsers.add_parser("standin", help="a stand-in for the analyser's API; no medical device")
    standin.add_argument("--state", type=Path, help="its SQLite file")
    _listen(standin, 8090)
    standin.set_defaults(run=lambda commands, given: commands.serve_standin(given.host, given.port, given.state))

    ehr = parsers.add_parser("ehr", help="a small FHIR server for demonstration and tests only")
    ehr.add_argument("--state", type=Path, help="its SQLite file; without it everything is forgotten at the end")
    _listen(ehr, 8070)
    ehr.set_defaults(run=lambda commands, given: commands.serve_ehr(given.host, given.port, given.state))

    up = parsers.add_parser("up", help="service, stand-in and demonstration EHR until SIGTERM")
    up.add_argument("--data", type=Path, default=Path("var"), help="folder for everything that is kept")
    up.set_defaults(run=lambda commands, given: commands.up(given.data))

    demo = parsers.add_parser("demo", help="one run of the whole line, with something to look at")
    demo.add_argument("--image", type=Path, help="a JPEG or PNG of your own; its eye is then not stated")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    demo.set_defaults(run=lambda commands, given: commands.demo(given.image, given.out))
    return parser


def _add_retention(parsers: Any) -> None:  # Any: argparse keeps the name of its type to itself
    hold = parsers.add_parser("hold", help="let nothing of a study be purged, however old")
    hold.add_argument("id", help=NAMED)
    hold.add_argument("--why", default="", help="words for whoever looks later; kept in the database, never logged")
    hold.add_argument("--who", help="in whose name; the user's by default")
    hold.add_argument("--reference", default="", metavar="CASE", help="of this hold: a study may be held for several")
    hold.set_defaults(
        run=lambda commands, given: commands.hold(given.id, who=given.who, why=given.why, reference=given.reference)
    )

    unhold = parsers.add_parser("unhold", help="end that: what nothing else holds and is old enough goes by the minute")
    unhold.add_argument("id", help=NAMED)
    unhold.add_argument("--who", help="in whose name; the user's by default")
    unhold.add_argument("--reference", default="", metavar="CASE", help="that the hold was placed with, if any")
    unhold.set_defaults(run=lambda commands, given: commands.unhold(given.id, who=given.who, reference=given.reference))

    holds = parsers.add_parser("holds", help="what is held, since when, by whom and why")
    holds.set_defaults(run=lambda commands, _: commands.show_holds())

    export = parsers.add_parser("export", help="everything that is here of a study, as one ZIP; it names the patient")
    export.add_argument("id", help=NAMED)
    export.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="where nothing may be yet; - for standard output"
    )
    export.add_argument("--pictures", action="store_true", help="photographs and pages, too")
    export.set_defaults(run=lambda commands, given: commands.export(given.id, to=given.to, pictures=given.pictures))


def _listen(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=port)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

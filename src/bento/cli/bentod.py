"""`bentod`: the operator's command; one file a command, as for `bento`.

Only what the chosen command needs is imported.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from bento.cli.output import report
from bento.errors import BentoError

CONFIG = Path("/etc/bento/bentod.toml")

# command -> (module in bento.cli, one line of help)
COMMANDS = {
    "run": ("box_run", "serve until SIGTERM"),
    "check": ("box_check", "look at everything a box relies on, all problems in one run"),
    "top": ("box_top", "what runs here, what it uses and what it was refused"),
    "kill": ("box_orders", "end one instance"),
    "block": ("box_orders", "never run a function here, and end it where it runs"),
    "unblock": ("box_orders", "let a blocked function run again"),
    "drain": ("box_orders", "take no new functions, for maintenance"),
    "policy": ("box_policy", "what this box offers, in plain words"),
    "pass": ("box_passes", "give out anonymous passes"),
    "attest": ("box_attest", "write out the evidence that conclaves here have"),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="bentod", description="A Bento box beside a Tor relay.")
    debug = "show tracebacks, texts and all: for a box nobody uses"
    parser.add_argument("--debug", action="store_true", help=debug)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument(
            "--config", type=Path, default=CONFIG, help=f"the box's TOML file; usually {CONFIG}"
        )
        # Also after the command; SUPPRESS, or its default would undo the one given before it.
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=debug)
        command.add_argument("--json", action="store_true", help="machine-readable output")
        if name == named:
            importlib.import_module(f"bento.cli.{module}").arguments(command, name)
    args = parser.parse_args(argv)
    chosen = importlib.import_module(f"bento.cli.{COMMANDS[args.command][0]}")
    try:
        return int(chosen.run(args))
    except BentoError as error:
        return report(error, debug=args.debug, as_json=args.json)
    except KeyboardInterrupt:
        return 130  # what shells report of a program ended by SIGINT


if __name__ == "__main__":
    sys.exit(main())

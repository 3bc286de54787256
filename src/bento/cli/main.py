"""`bento`: parses the command line and hands over to one file a command.

Only what the chosen command needs is imported: `bento --help` starts in the time of a bare Python.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from bento.cli.output import report
from bento.errors import BentoError

# command -> (module in bento.cli, one line of help)
COMMANDS = {
    "boxes": ("boxes", "what boxes there are and what they offer"),
    "run": ("run", "install a function, call it, print what it sends, shut it down"),
    "install": ("install", "install a function and print its ticket"),
    "invoke": ("invoke", "call an installed function"),
    "attach": ("attach", "go on with a detached session"),
    "narrow": ("narrow", "make a weaker ticket out of one, offline"),
    "ticket": ("ticket", "say what a ticket may do"),
    "holder": ("holder", "make a key that a ticket for you can be bound to"),
    "shutdown": ("shutdown", "end an installed function"),
    "attest": ("attest", "what a box's conclaves, or evidence from files, can show"),
    "pass": ("passes", "anonymous passes for boxes that are loaded"),
    "browse": ("browse", "fetch a web page through a box"),
    "cover": ("cover", "run a bento command under cover traffic of a fixed rate"),
    "put": ("put", "leave a file on a box, sealed, and print its ticket"),
    "get": ("get", "fetch a file by its ticket"),
    "balance": ("balance", "an onion service that grows over boxes as its visitors need"),
    "functions": ("functions", "the functions that come with Bento"),
    "new": ("new", "begin a function of your own, with a test"),
    "shard": ("shard", "make lost shards of a file anew"),
    "testnet": ("testnet", "a private Tor network with boxes on this machine"),
}
_INTERRUPTED = 130  # what shells report of a program ended by SIGINT


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="bento", description="Run small Python functions on Tor relays."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        command.add_argument("--json", action="store_true", help="machine-readable output")
        if name == named:
            importlib.import_module(f"bento.cli.{module}").arguments(command)
    args = parser.parse_args(argv)
    chosen = importlib.import_module(f"bento.cli.{COMMANDS[args.command][0]}")
    try:
        return int(chosen.run(args))
    except BentoError as error:
        return report(error, debug=args.debug, as_json=args.json)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; that is no error of ours.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())

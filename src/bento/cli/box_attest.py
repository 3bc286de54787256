"""`bentod attest --dump DIR`: what this box's platform would show a client, written out for others."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "--dump",
        metavar="DIR",
        type=Path,
        required=True,
        help="where to write the evidence; it names this machine's processor, and holds no secret",
    )


def run(args: argparse.Namespace) -> int:
    from bento.box.attester import make_attester
    from bento.box.config import load
    from bento.conclave.claims import REPORT_DATA_SIZE
    from bento.conclave.kit import write_dump
    from bento.errors import HostError, UsageError

    config = load(args.config)
    if config.conclave.attester == "none":
        raise UsageError(
            "this box has no attester", 'set attester in [conclave], such as "tsm" or "tpm"'
        )
    evidence = make_attester(config).evidence(os.urandom(REPORT_DATA_SIZE))
    try:
        written = write_dump(evidence, args.dump)
    except OSError as error:
        raise HostError(f"cannot write to {args.dump}: {error.strerror}") from None
    for path in written:
        print(path)
    return 0

"""A TPM 2.0 through tpm2-tools: what this box booted. Tested with a software TPM.

The attestation key must exist (a persistent handle or a context file) and have a certificate from
an authority the client names; enrolling it (EK certificate, MakeCredential, ActivateCredential) is
between the operator and that authority. Each quote takes two short processes, about 0.1 s.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bento.conclave import tpm_quote
from bento.conclave.attesters.base import UNTESTED, Hardware, check_report_data
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence
from bento.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bento.conclave.collateral import CollateralStore

BOOT_REGISTERS: Final = (0, 2, 4, 7)  # TCG PC client: firmware, its drivers, boot code, secure boot
_PATIENCE: Final = 60  # seconds for one tool; a slow discrete TPM signs in about one


class TpmAttester(Hardware):
    """Quotes of the SHA-256 bank under one attestation key."""

    kind = Kind.TPM
    remark = f"TPM: says what booted, protects no memory from the operator; {UNTESTED}"

    def __init__(
        self,
        key: str,
        collateral: CollateralStore,
        registers: Sequence[int] = BOOT_REGISTERS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`key` is a handle ("0x81010002") or a context file; `environment` is for the tools
        (TPM2TOOLS_TCTI says where the TPM is).
        """
        self._key = key
        self._collateral = collateral
        self._registers = tuple(sorted(registers))
        self._environment = {**os.environ, **(environment or {})}

    def evidence(self, report_data: bytes) -> Evidence:
        check_report_data(report_data)
        bank = "sha256:" + ",".join(map(str, self._registers))
        with tempfile.TemporaryDirectory(prefix="bento-tpm-") as name:
            folder = Path(name)
            message, signature, values = (folder / n for n in ("message", "signature", "values"))
            outputs = ["-m", str(message), "-s", str(signature), "-o", str(values), "-F", "values"]
            question = ["-c", self._key, "-l", bank, "-q", report_data.hex(), "-g", "sha256"]
            self._run(["tpm2_quote", "-Q", *question, *outputs])
            self._run(["tpm2_flushcontext", "-Q", "-t"])
            registers = self._split(values.read_bytes())
            parts = {
                "quote": message.read_bytes(),
                "signature": signature.read_bytes(),
                "pcrs": tpm_quote.encode_pcrs(registers),
                **self._collateral.parts(Kind.TPM),
            }
        return Evidence(Kind.TPM, MappingProxyType(parts))

    def _split(self, values: bytes) -> dict[int, bytes]:
        size = tpm_quote.PCR_SIZE
        if len(values) != size * len(self._registers):
            raise HostError("tpm2_quote returned another number of registers than asked for")
        return {
            register: values[n * size : (n + 1) * size]
            for n, register in enumerate(self._registers)
        }

    def _run(self, command: list[str]) -> None:
        try:
            subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_PATIENCE,
            )
        except FileNotFoundError as error:
            raise HostError(f"{command[0]} is not installed", "apt install tpm2-tools") from error
        except subprocess.TimeoutExpired as error:
            raise HostError(f"{command[0]} does not answer") from error
        except subprocess.CalledProcessError as error:
            raise HostError(f"{command[0]} failed: {_last_line(error.stderr)}") from error


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no message"

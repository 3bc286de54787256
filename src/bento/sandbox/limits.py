"""What one instance may use. Numbers only: manifests and policies are parsed elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

SUPERVISOR = 1  # bubblewrap's outer process is counted with the instance's own


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one instance; every field is enforced or the sandbox says it is not."""

    memory: int  # bytes, everything charged to the instance: heap, tmpfs, socket buffers
    pids: int  # processes and threads together
    cpu: float  # cores: 0.5 is half of one core
    disk: int  # bytes of the private tmpfs
    inodes: int  # files and folders in the private tmpfs
    open_files: int  # descriptors of one process
    weight: float = 1.0  # share of the processor beside other instances, when they want all of it

    def __post_init__(self) -> None:
        for name in ("memory", "pids", "cpu", "disk", "inodes", "open_files", "weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit {name} must be above zero")

"""Waiting between threads without `threading`, which costs 4 ms at start."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Signal:
    """A wake-up for whoever waits: `set` before `wait` is not lost, several `set`s are one."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # set already

    def wait(self, timeout: float | None = None) -> bool:
        return self._lock.acquire(True, -1 if timeout is None else max(timeout, 0))


def wait_until(signal: Signal, ready: Callable[[], bool], timeout: float | None) -> bool:
    """Waits until `ready()` holds; False after `timeout` seconds. Passes the wake-up on."""
    from time import monotonic

    deadline = None if timeout is None else monotonic() + timeout
    while not ready():
        if not signal.wait(None if deadline is None else deadline - monotonic()):
            return ready()
    signal.set()
    return True

"""When a slot begins: a timer of the kernel's, at absolute times, so that no lateness adds up.

asyncio's own timers are rounded to 1 ms, and a sleep from one cell to the next loses what the work in
between takes (research: 18 % of the rate at 1,000 a second). Python has timerfd_create(2) only from 3.13
on, so it is called in the C library.
"""

import ctypes
import os

_CLOCK_MONOTONIC = 1
_NANO = 1_000_000_000


class _Times(ctypes.Structure):
    """struct itimerspec"""

    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    ]


class Slots:
    """A slot every `nanoseconds` from now on. `descriptor` is readable when one has begun."""

    def __init__(self, nanoseconds: int, blocking: bool) -> None:
        """Raises OSError."""
        flags = os.O_CLOEXEC | (0 if blocking else os.O_NONBLOCK)
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer can be made")
        whole, part = divmod(nanoseconds, _NANO)
        times = _Times(whole, part, whole, part)
        if libc.timerfd_settime(self.descriptor, 0, ctypes.byref(times), None):
            self.close()
            raise OSError(ctypes.get_errno(), "the timer cannot be set")

    def begun(self) -> int:
        """Slots that have begun since this was called last: more than one if some were missed. Waits
        for one if it is blocking, else gives 0."""
        try:
            return int.from_bytes(os.read(self.descriptor, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

"""Nothing that other code says or raises gets into bentod's log with its text."""

import subprocess
import sys
import textwrap

import pytest

SECRET = "blue-heron.example"


def log_of(body):
    program = f"SECRET = {SECRET!r}\nfrom bento.safelog import take_over\ntake_over()\n"
    done = subprocess.run(
        [sys.executable, "-c", program + textwrap.dedent(body)], capture_output=True, text=True
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError(SECRET)", "error a fault of bentod: ValueError at outside of bento"),
        ("import logging; logging.getLogger(SECRET).error('to %s', SECRET)", "another library"),
        ("import logging; logging.getLogger('asyncio').warning(SECRET)", "asyncio complained"),
        ("import warnings; warnings.warn(SECRET)", "py.warnings complained"),
        (
            """
            import asyncio
            async def main():
                async def fails():
                    raise OSError(SECRET)
                lost = asyncio.create_task(fails())
                await asyncio.sleep(0.01)
            asyncio.run(main())
            """,
            "a fault of bentod: OSError",
        ),
        (
            """
            import threading
            def fails():
                raise KeyError(SECRET)
            thread = threading.Thread(target=fails, name=SECRET)
            thread.start()
            thread.join()
            """,
            "a fault of bentod: KeyError",
        ),
        (
            """
            class Rude:
                def __del__(self):
                    raise OSError(SECRET)
            Rude()
            """,
            "a fault of bentod: OSError",
        ),
    ],
)
def test_what_other_code_says_is_reduced_to_an_event(body, told):
    log = log_of(body)
    assert told in log
    assert SECRET not in log
    assert "Traceback" not in log

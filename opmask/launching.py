r"""How the command and the scripts begin, and what Ctrl-C does to them.

It is imported before torch is, and imports nothing itself that takes time.

Ctrl-C -> :func:`interrupt` -> `KeyboardInterrupt`, or :func:`leave` -> status 130.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = [
    "INTERRUPTED",
    "how_to_install",
    "interrupt",
    "interrupt_or_leave",
    "leave",
    "let_threads_sleep",
    "was_interrupted",
]

INTERRUPTED = 128 + signal.SIGINT
"""The exit status after Ctrl-C that shells know."""

_PACKAGES = {"cv2": "opencv-python-headless", "skimage": "scikit-image"}
"""Packages that are not named as what they hold."""

_PROCESS = os.getpid()


def let_threads_sleep() -> None:
    r"""Lets threads that wait sleep soon; to be called before torch is imported.

    How often a waiting thread of GNU's OpenMP looks for work before it sleeps: its own choice is
    300,000 times, and 1000 where it knows of more threads than cores. Of other processes it does
    not know, and beside a busy one threads that wait would keep from the cores those that work.
    What `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` say in the environment stays.

    Example:
        >>> let_threads_sleep()
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def leave(*_: object) -> NoReturn:
    """Ends the process, which has begun no work: imports turn exceptions into others."""
    print("Interrupted.", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupts this process alone: those that it has started to load data end with it."""
    if os.getpid() == _PROCESS:
        raise KeyboardInterrupt


def interrupt_or_leave(number: int, frame: FrameType | None) -> None:
    """As :func:`interrupt`; but while a module is being imported, :func:`leave`."""
    if os.getpid() == _PROCESS and _is_importing(frame):
        leave()
    interrupt(number, frame)


def was_interrupted(error: BaseException | None) -> bool:
    r"""Whether an exception comes of Ctrl-C, which Python itself may turn into another one.

    Args:
        error: The exception.

    Returns:
        Whether it, or what it was raised from, is a `KeyboardInterrupt`.

    Example:
        >>> was_interrupted(ValueError())
        False
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def how_to_install(module: str) -> str:
    r"""What to run for a module that is missing.

    Args:
        module: Its name, as it is imported.

    Returns:
        The command, with the smallest extra that has it, or else by its own name.

    Example:
        >>> how_to_install("onnxruntime"), how_to_install("skimage.data")
        ("pip install 'opmask[export]'", "pip install 'opmask[train]'")
        >>> how_to_install("of_another_project")
        'pip install of-another-project'
    """
    import re  # here, so that nothing starts later for it
    from importlib.metadata import PackageNotFoundError, requires

    top = module.partition(".")[0]
    package = _PACKAGES.get(top, top.replace("_", "-"))
    try:
        needed = requires("opmask") or []
    except PackageNotFoundError:  # it is run from its source
        needed = []
    extras: dict[str, list[str]] = {}
    for line in needed:
        if found := re.search(r"extra == ['\"]([\w-]+)['\"]", line):
            extras.setdefault(found[1], []).append(re.split(r"[^\w-]", line)[0])
    having = [extra for extra, packages in extras.items() if package in packages]
    if having:
        return f"pip install 'opmask[{min(having, key=lambda extra: len(extras[extra]))}]'"
    return f"pip install {package}"


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False

r"""What goes wrong, in one line.

Exception -> :func:`describe` -> a line of the standard error.
"""

from __future__ import annotations

from opmask.files import shorten

EXPECTED = (OSError, ValueError, ImportError, MemoryError, RuntimeError)
"""What the library raises where it refuses, or where something is missing. Others are bugs."""


def describe(error: Exception) -> str:
    """An error of the library, in one line that says what to do."""
    text = " ".join(_said(error).split())
    # By its name, because to ask torch for its class would import torch. Of the processor's
    # memory torch says so in a RuntimeError, after the name of a file of its.
    no_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if no_memory or "allocate memory" in text:
        advice = "there is not enough memory. Try a smaller photo or another --device."
        return f"{advice} {text}".strip()
    return text or type(error).__name__


def _said(error: Exception) -> str:
    """The message, without the number of an error that the system knows."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return error.strerror
    return f"{shorten(error.filename)!r} cannot be used: {error.strerror}."

r"""What goes wrong, in one line.

Exception -> :func:`describe` -> a line of the standard error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opmask.files import shorten

EXPECTED = (OSError, ValueError, ImportError, MemoryError, RuntimeError)
"""What the library raises where it refuses, or where something is missing. Others are bugs."""


_ARGUMENTS = re.compile(r"^'(strength|work_size|label|at|scale|max_side)' must ")
"""Arguments of the library whose options have the same name."""

_ADVICE = {
    "'boxes' must": "'--box' must",
    "'refine' must be False or 'auto' for": "'--refine' or --grabcut must not be given for",
    "overwrite=True": "--overwrite",
    "force=True": "--force",
    "partial=True": "--partial",
    "max_pixels": "--max-pixels",
}
"""What else the library calls otherwise than the command, and says in full only here."""


def describe(error: Exception) -> str:
    r"""An error of the library, in one line that says what to do, in words of the command.

    Example:
        >>> describe(ValueError("'work_size' must be at least 16 pixels, got 3."))
        "'--work-size' must be at least 16 pixels, got 3."
    """
    text = printable(" ".join(_in_options(_said(error)).split()))
    # By its name, because to ask torch for its class would import torch. Of the processor's
    # memory torch says so in a RuntimeError, after the name of a file of its.
    no_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if no_memory or "allocate memory" in text:
        advice = "there is not enough memory. Try a smaller photo or another --device."
        return f"{advice} {text}".strip()
    return text or type(error).__name__


@contextmanager
def in_words_of_the_command(words: Mapping[str, object]) -> Iterator[None]:
    """Says of the library's refusals what the command calls things: files, and its options.

    Args:
        words: What messages say, such as `'region'`, and what stands for it here.

    Raises:
        ValueError: In place of one of the library.
    """
    try:
        yield
    except ValueError as error:
        said = str(error)
        for word, own in words.items():
            said = said.replace(word, str(own))
        raise ValueError(said) from error


def printable(text: str) -> str:
    r"""A text without line breaks and codes for the terminal, which names of files may hold.

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _in_options(text: str) -> str:
    """A message of the library that advises options of the command, not arguments."""
    text = _ARGUMENTS.sub(lambda found: f"'--{found[1].replace('_', '-')}' must ", text)
    for argument, option in _ADVICE.items():
        text = text.replace(argument, option)
    return text


def _said(error: Exception) -> str:
    """The message, without the number of an error that the system knows."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return error.strerror
    return f"{shorten(error.filename)!r} cannot be used: {error.strerror}."

r"""What came of a case: a success, a clear refusal, or a fault.

Exception, standard error and files before and after -> :func:`judge` -> outcome and message.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from fuzzing.case import Refused, Use, Wrong

OUTCOMES = ("success", "clear", "vague", "crash", "hang", "leftover", "wrong")
"""The first two are as it should be."""

LONGEST = 1000  # characters of a message
KINDS = (ValueError, TypeError, KeyError, OSError, ImportError)
# A sentence that holds any of these, and not much more, is another library's.
FOREIGN = re.compile(
    r"\[Errno|object has no|unexpected keyword|not subscriptable|unhashable|<class"
    r"|not enough values|too many values|invalid literal|could not convert|object is not"
    r"|must be real number|index out of range|positional arg|size mismatch for"
    r"|not supported between|cannot unpack|unsupported operand"
)


def snapshot(folder: Path) -> dict[str, str]:
    """By path in a folder what is there, without opening what is no file."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            if path.is_symlink():
                what = f"link to {os.readlink(path)}"
            elif path.is_file():
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = "folder" if path.is_dir() else "other"
            found[str(path.relative_to(folder))] = what
    return found


def judge(
    error: BaseException | None,
    heard: str,
    warned: Sequence[str],
    before: dict[str, str],
    after: dict[str, str],
    use: Use,
    *,
    gone: Sequence[str],
    sound: bool,
) -> tuple[str, str]:
    """The outcome of a case, and a line about it."""
    outcome, line = _of_error(error, heard, [*before, *gone])
    if outcome in ("success", "clear", "vague"):
        if warned:
            return "crash", f"a warning: {warned[0]}"
        if found := _leftovers(before, after, use, failed=error is not None):
            return "leftover", f"{found}, after: {line or 'success'}"
    if outcome == "success" and (missing := _missing(after, use)):
        return "wrong", f"no {missing} was written"
    if sound and outcome != "success":
        return "wrong" if outcome in ("clear", "vague") else outcome, f"sound files, but {line}"
    return outcome, line


def _of_error(error: BaseException | None, heard: str, names: Sequence[str]) -> tuple[str, str]:
    if "Traceback" in heard:
        return "crash", heard[heard.index("Traceback") :]
    if error is None:
        return "success", ""
    line = f"{type(error).__name__}: {error}"
    if isinstance(error, Wrong):
        return "wrong", line
    if isinstance(error, Refused):
        return _of_refusal(error, heard, names)
    if not isinstance(error, KINDS) or isinstance(error, UnicodeError):
        return "crash", line
    if isinstance(error, (TypeError, KeyError)) and not _is_raised(error):
        return "crash", line
    ours = type(error).__module__ == "builtins" or type(error).__module__.startswith("opmask")
    return ("clear" if ours and _is_clear(str(error), names) else "vague"), line


def _of_refusal(error: Refused, heard: str, names: Sequence[str]) -> tuple[str, str]:
    if error.args[0] == 2:  # the arguments make no sense, says the parser
        return ("clear" if "Error: " in heard else "vague"), heard.strip().splitlines()[-1]
    if error.args[0] != 1:
        return "crash", f"status {error.args[0]}: {heard}"
    said = [line for line in heard.splitlines() if line.startswith("opmask:")]
    if len(said) != 1 or not heard.rstrip().endswith(said[0].rstrip()):
        return "vague", heard
    return ("clear" if _is_clear(said[0], names) else "vague"), said[0]


def _is_clear(message: str, names: Sequence[str]) -> bool:
    text = " ".join(message.split())
    paths = {part for name in names for part in Path(name).parts}
    shown = {" ".join(form.split()) for part in paths for form in (part, repr(part)[1:-1])}
    named = any(name in text for name in shown) or re.search(r"'-{0,2}[a-z_][\w. -]*'", text)
    return bool(
        named
        and text[-1:] in ".!?"
        and len(text) <= LONGEST
        and not FOREIGN.search(text)
        and "Traceback" not in text
    )


def _is_raised(error: BaseException) -> bool:
    """Whether a line of the library says `raise`, or the interpreter stumbled."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "/opmask/" in last.filename and (last.line or "").startswith("raise ")


def _leftovers(before: dict[str, str], after: dict[str, str], use: Use, failed: bool) -> str:
    changes = []
    for name in sorted({*before, *after}):
        promised = any(fnmatch.fnmatchcase(name, output) for output in use.outputs)
        if before.get(name) == after.get(name) or (promised and (use.resumable or not failed)):
            continue
        if name in before:
            changes.append(f"{name} was changed" if name in after else f"{name} is gone")
        elif after[name] != "folder":
            changes.append(f"{name} was left")
    return ", ".join(changes)


def _missing(after: dict[str, str], use: Use) -> str:
    return next((o for o in use.outputs if not fnmatch.filter(after, o)), "")


def place(error: BaseException | None) -> str:
    """The line of the library that an error comes from, through all its causes."""
    while error is not None and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    ours = [f for f in frames if "/opmask/" in f.filename and "/fuzzing/" not in f.filename]
    if not ours:
        return ""
    return f"{ours[-1].filename.rpartition('/opmask/')[2]}:{ours[-1].lineno}"

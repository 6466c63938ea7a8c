"""Every public name is documented, and every tensor has its shape and its range or unit.

Public is what the `__all__` of the package and of its rooms names, and the methods and properties
without an underscore that such classes define. (ruff asks for a docstring of each function, but
looks neither at constants nor into a docstring.)

A tensor is documented where its entry under `Args:`, `Attributes:` or `Returns:` says both, or,
where there is no such entry, the whole docstring. It may name another public function instead,
whose turn comes too: "See :meth:`Operator.forward`.", "As for :meth:`predict`.".
"""

import ast
import importlib
import inspect
import pkgutil
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import opmask

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "opmask").rglob("*.py"))

ELSEWHERE = r"\b[Ss]ee :\w+:|\b[Aa]s (?:for|in|of) :\w+:|\b[Aa]s there\b|\blikewise\b"
SHAPE = re.compile(rf"\bshapes?\b|\(B, |{ELSEWHERE}")
RANGE = re.compile(
    r"\[(?:0|-1|l), |\b0-\d+|\b[01] (?:inside|outside|where|elsewhere)"  # a range
    r"|\b(?:ranges?|units?|dB|integers|unbounded)\b|\bin (?:squared )?(?:8-bit )?levels\b"
    rf"|\bcolour space\b|\bat least 0\b|^ The loss, |{ELSEWHERE}"
)


@cache
def public():
    """Public names with what they are, each thing once."""
    names = {}
    for room in [opmask, *rooms()]:
        for name in room.__all__:
            names.setdefault(id(getattr(room, name)), (room, name))
    return {f"{room.__name__}.{name}": getattr(room, name) for room, name in names.values()}


def rooms():
    for room in pkgutil.walk_packages(opmask.__path__, "opmask."):
        if (room.ispkg or room.name.count(".") == 1) and room.name != "opmask.__main__":
            module = importlib.import_module(room.name)
            if hasattr(module, "__all__"):
                yield module


def functions():
    """Public functions, classes and methods by name."""
    for name, value in public().items():
        if callable(value):
            yield name, value
        if inspect.isclass(value):
            yield from methods(name, value)


def methods(name, kind):
    fields = getattr(kind, "__dataclass_fields__", {})  # whose default may be a function
    for key, part in vars(kind).items():
        part = getattr(part, "__func__", getattr(part, "fget", getattr(part, "func", part)))
        is_public = not key.startswith("_") or key == "__call__"
        if is_public and key not in fields and inspect.isfunction(part):
            yield f"{name}.{key}", part


def entries(text):
    """What stands at each name under `Args:` or `Attributes:`, and under `Returns:`."""
    found, section, name = {}, "", ""
    for line in text.splitlines():
        if head := re.match(r"(\w+):$", line):
            section = name = head[1]
        elif section in ("Args", "Attributes", "Returns"):
            if section != "Returns" and (entry := re.match(r"    (\w+): ", line)):
                name, line = entry[1], line[entry.end() :]
            found[name] = f"{found.get(name, '')} {line.strip()}"
    return found


def tensors(function):
    """The names of the arguments that are tensors, and `Returns` if what is returned is."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of an exception
        return
    kinds = {p.name: p.annotation for p in signature.parameters.values()}
    if not inspect.isclass(function):
        kinds["Returns"] = signature.return_annotation
    for name, kind in kinds.items():
        if "Tensor" in re.sub(r"Callable\[.*", "", str(kind)):
            yield name


def lacking(pattern):
    for name, function in functions():
        text = inspect.getdoc(function) or ""
        known = entries(text)
        for tensor in tensors(function):
            if not pattern.search(known.get(tensor, text)):
                yield f"{name}: {tensor}"


def is_documented(value):
    return bool((value.__doc__ or "").strip())


def documented_constants():
    """The names that a string follows upon, in any module."""
    for path in SOURCES:
        for line, text in pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                targets = getattr(line, "targets", [getattr(line, "target", None)])
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_every_public_name_has_a_docstring():
    constants = set(documented_constants())
    bare = [name for name, value in functions() if not is_documented(value)]
    for name, value in public().items():
        short = name.rpartition(".")[2]
        if isinstance(value, ModuleType):
            bare += [name] * (not is_documented(value))
        elif not callable(value) and short != "__version__":
            bare += [name] * (short not in constants)
    assert bare == []


@pytest.mark.parametrize("pattern", [SHAPE, RANGE], ids=["shape", "range"])
def test_every_tensor_has_its(pattern):
    assert list(lacking(pattern)) == []


def test_each_discrepancy_that_is_referred_to_is_on_the_page_of_the_paper():
    page = (ROOT / "docs" / "concepts" / "paper.rst").read_text(encoding="utf-8")
    explained = set(re.findall(r"^   \* - (D-\d\d)$", page, re.MULTILINE))
    missing = {}
    for folder in ("opmask", "examples", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".rst", ".md") and "_build" not in path.parts:
                numbers = set(re.findall(r"\bD-\d\d\b", path.read_text(encoding="utf-8")))
                if numbers - explained:
                    missing[str(path.relative_to(ROOT))] = sorted(numbers - explained)
    assert missing == {}

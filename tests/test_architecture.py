"""Which room imports which, read off the source: the arrows of the design go one way.

A room is a folder of the package, or a file that lies beside the folders; what is no room of
`ROOMS` lies at the bottom: every room may import it, and it imports nothing but the bottom.

    python tests/test_architecture.py    # draws docs/images/rooms.svg anew
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from re import findall
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]

ROOMS: dict[str, set[str]] = {
    "color": set(),
    "operators": {"color"},
    "retouch": {"color", "operators"},
    "testing": {"color", "operators"},
    "wrapper": {"color", "operators", "retouch"},
    "backbones": {"color"},
    "discriminator": {"color", "backbones"},
    "losses": {"color", "backbones"},
    "metrics": {"color", "losses", "perturb"},
    "perturb": {"color", "operators"},
    "fitting": {"color", "operators", "retouch", "perturb"},
    "datasets": {"color", "perturb"},
    "checkpoints": {"color", "operators", "retouch", "wrapper", "backbones", "discriminator"},
    "inference": {"color", "operators", "retouch", "wrapper", "checkpoints", "visualize"},
    "export": {"color", "operators", "retouch", "wrapper", "inference"},
    "visualize": {"color", "operators", "retouch", "wrapper"},
    "study": {"backbones", "wrapper", "checkpoints", "inference", "visualize"},
    "editor": {"color", "operators", "retouch", "wrapper", "inference", "visualize"},
    "integrations": {"checkpoints", "inference", "wrapper"},
}
"""What each room may import, the bottom aside."""

ABOVE = {"cli", "__main__", "opmask"}
"""What may import every room, and is imported by no other; `opmask` is the package's own file."""


DRAWING = REPOSITORY / "docs" / "images" / "rooms.svg"
WIDTH, HEIGHT, ACROSS, DOWN = 104, 30, 132, 86  # of a room in the drawing, and between two


def storeys(rooms: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by how many lie below each other under them, those that share rooms together."""
    level: dict[str, int] = {}
    for name in TopologicalSorter(rooms).static_order():
        level[name] = 1 + max((level[below] for below in rooms[name]), default=-1)
    found = [sorted(n for n in level if level[n] == i) for i in range(max(level.values()) + 1)]
    place = dict.fromkeys(rooms, 0.0)
    for _ in range(20):
        for storey in found:
            for i, name in enumerate(sorted(storey, key=lambda n: (place[n], n))):
                place[name] = i - (len(storey) - 1) / 2
            storey.sort(key=lambda n: place[n])
        for name in rooms:
            near = [place[n] for n in drawn(rooms, name)]
            near += [place[n] for n in rooms if name in drawn(rooms, n)]
            place[name] = sum(near) / len(near) if near else 0.0
    return found


def drawn(rooms: dict[str, set[str]], name: str) -> set[str]:
    """What a room imports, but for what it also reaches through another room."""

    def reached(start: str) -> set[str]:
        return rooms[start].union(*map(reached, rooms[start]))

    return rooms[name].difference(*map(reached, rooms[name]))


def drawing(rooms: dict[str, set[str]]) -> str:
    """The rooms as a picture: a line leads from each down to those that it may import."""
    found = storeys(rooms)
    width = ACROSS * max(map(len, found)) + 20
    height = DOWN * len(found)
    at = {
        name: (width / 2 + ACROSS * (i - (len(storey) - 1) / 2), height - DOWN * level - DOWN / 2)
        for level, storey in enumerate(found)
        for i, name in enumerate(storey)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" font-family="sans-serif" font-size="14" text-anchor="middle">',
        '<rect width="100%" height="100%" rx="8" fill="#fff"/>',
    ]
    for name in sorted(at):
        for below in sorted(drawn(rooms, name)):
            lines.append(f'<path d="{path_between(at, name, below)}" {LINE}/>')
    for name, (x, y) in sorted(at.items()):
        lines.append(
            f'<rect x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="6" fill="#e8f0f4" stroke="#567"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" fill="#123">{name}</text>'
        )
    return "\n".join([*lines, "</svg>\n"])


LINE = 'fill="none" stroke="#8aa" stroke-width="1.4"'


def path_between(at: dict[str, tuple[float, float]], name: str, below: str) -> str:
    """A line down, bent, and on its way through the gaps between the rooms of other storeys."""
    (x, y), (u, v) = at[name], at[below]
    made, here = f"M{x:.0f} {y + HEIGHT / 2:.0f}", (x, y + HEIGHT / 2)
    for level in range(int(y + DOWN), int(v), DOWN):
        rooms = [a for a, b in at.values() if abs(b - level) < 1]
        straight = x + (u - x) * (level - y) / (v - y)
        gaps = [a + side * ACROSS / 2 for a in rooms for side in (-1, 1)]
        gap = min(gaps, key=lambda a: abs(a - straight))
        made += bent(here, (gap, level - HEIGHT / 2)) + f"V{level + HEIGHT / 2:.0f}"
        here = gap, level + HEIGHT / 2
    return made + bent(here, (u, v - HEIGHT / 2))


def bent(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A curve that begins and ends straight down."""
    half = (end[1] - start[1]) / 2
    return (
        f"C{start[0]:.0f} {start[1] + half:.0f} {end[0]:.0f} {end[1] - half:.0f} "
        f"{end[0]:.0f} {end[1]:.0f}"
    )


class Arrow(NamedTuple):
    """An import of one module by another."""

    source: str
    target: str
    line: int

    @property
    def rooms(self) -> tuple[str, str]:
        return room(self.source), room(self.target)


def room(module: str) -> str:
    """The room of a module of the package: `opmask.color.spaces` is in `color`."""
    return module.removeprefix("opmask.").split(".")[0]


def read(text: str, module: str, package: str, modules: set[str]) -> Iterator[Arrow]:
    """All imports of a module, also those within functions and those for type checkers alone."""
    for node in ast.walk(ast.parse(text)):
        for target in imported(node, package, modules):
            yield Arrow(module, target, node.lineno)


def imported(node: ast.AST, package: str, modules: set[str]) -> set[str]:
    """What a node imports; of `from a import b` it is `a.b` if that is a module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    name = resolve_name("." * node.level + (node.module or ""), package)
    full = {f"{name}.{alias.name}" for alias in node.names}
    return {one if one in modules else name for one in full}


@pytest.fixture(scope="module")
def everything() -> list[Arrow]:
    """All imports in the package, also of other packages."""
    files = {}
    for path in sorted((REPOSITORY / "opmask").rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    found = []
    for module, path in files.items():
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        found += read(path.read_text(encoding="utf-8"), module, package, set(files))
    return found


@pytest.fixture(scope="module")
def arrows(everything) -> list[Arrow]:
    """The imports of one room by another."""
    inside = [arrow for arrow in everything if arrow.target.split(".")[0] == "opmask"]
    return [arrow for arrow in inside if arrow.rooms[0] != arrow.rooms[1]]


def allowed(source: str, target: str) -> bool:
    if source in ABOVE:
        return target not in ABOVE or (source, target) == ("__main__", "cli")
    return target in ROOMS.get(source, set()) or target not in {*ROOMS, *ABOVE}


def test_no_room_imports_what_the_design_does_not_allow(arrows):
    wrong = [arrow for arrow in arrows if not allowed(*arrow.rooms)]
    assert not wrong, "\n".join(f"{a.source}:{a.line} imports {a.target}" for a in wrong)


def test_rooms_import_one_another_in_no_circle(arrows):
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        graph.setdefault(arrow.rooms[0], set()).add(arrow.rooms[1])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import one another in a circle: {error.args[1]}")


def test_the_page_on_the_architecture_lists_what_each_room_may_import():
    page = (REPOSITORY / "docs" / "concepts" / "architecture.rst").read_text(encoding="utf-8")
    table = page.split("(the bottom aside)\n")[1].split("\n\n")[0]
    rows = [findall(r"``(\w+)``", row) for row in table.split("* - ")]
    assert {room: set(below) for room, *below in filter(None, rows)} == ROOMS


def test_the_drawing_on_the_page_is_of_these_rooms():
    assert DRAWING.read_text(encoding="utf-8") == drawing(ROOMS), "draw it anew, see above"


def test_lines_that_others_lead_to_are_left_out():
    rooms = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}
    assert storeys(rooms) == [["a"], ["b", "d"], ["c"]]
    assert drawn(rooms, "c") == {"b"}
    assert drawing(rooms).count("<path") == 3


def test_the_library_imports_neither_examples_nor_benchmarks(everything):
    scripts = {"examples", "benchmarks", "tests"}
    for folder in ("examples", "benchmarks"):
        scripts |= {path.stem for path in (REPOSITORY / folder).iterdir()}
    assert not [arrow for arrow in everything if arrow.target.split(".")[0] in scripts]


def test_imports_are_found_wherever_they_stand():
    text = """
import opmask
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from opmask.a import X
def f():
    from . import c
    from ..d.e import g
    """
    found = list(read(text, "opmask.b.x", "opmask.b", {"opmask.b.c"}))
    targets = [arrow.target for arrow in found if arrow.target.startswith("opmask")]
    assert targets == ["opmask", "opmask.a", "opmask.b.c", "opmask.d.e"]


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("wrapper", "color", True),
        ("color", "wrapper", False),
        ("losses", "retouch", False),
        ("losses", "files", True),
        ("files", "jsonfiles", True),
        ("files", "color", False),
        ("datasets", "opmask", False),
        ("cli", "study", True),
        ("study", "cli", False),
    ],
)
def test_arrows_point_down(source, target, fits):
    assert allowed(source, target) == fits


if __name__ == "__main__":
    DRAWING.write_text(drawing(ROOMS), encoding="utf-8")

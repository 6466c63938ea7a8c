"""The benchmark of throughput, with ways that take no time."""

import pytest
from benchmark_scripts import load

MAKE = """
from pathlib import Path
for name in "abc":
    path = Path("out", name + ".png")
    path.parent.mkdir(exist_ok=True)
    path.write_text({text!r})
"""


@pytest.fixture
def scale():
    return load("scale")


def way(scale, name, text):
    return scale.Way("job", name, 1, ("-c", MAKE.format(text=text)))


def run(scale, monkeypatch, *ways):
    monkeypatch.setattr(scale, "ways", lambda root, size: list(ways))
    monkeypatch.setattr("sys.argv", ["scale.py", "--count", "2", "--size", "32", "--repeats", "2"])
    scale.main()


def test_throughput_leaves_out_the_start(scale, monkeypatch, tmp_path):
    (tmp_path / "out").mkdir()
    for name in "abcde":
        (tmp_path / "out" / f"{name}.png").touch()
    seconds = iter([30.0, 10.0])  # for five pictures, and for the last one again
    monkeypatch.setattr(scale.Way, "seconds", lambda way, folder: next(seconds))
    assert scale.measure(way(scale, "a", "x"), tmp_path) == scale.Turn(5.0, 0.2)
    assert not (tmp_path / "out" / "e.png").exists()


def test_figures_are_medians_and_ratios_those_of_each_turn(scale):
    own = [scale.Turn(3.0, 2.0), scale.Turn(1.0, 8.0), scale.Turn(2.0, 9.0)]
    first = [scale.Turn(0.0, rate) for rate in (1.0, 2.0, 10.0)]
    cells = scale.row(way(scale, "a", "x"), own, first)
    assert cells == ("job", "a", "1", "2.0 s", "8.00", "2.00")


def test_ways_that_leave_the_same_files_are_compared(scale, monkeypatch, capsys):
    run(scale, monkeypatch, way(scale, "one", "x"), way(scale, "other", "x"))
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "Photos: 2; turns: 2. All ways leave the same files."
    assert [row.split("|")[2].strip() for row in rows[4:]] == ["one", "other"]


def test_a_way_that_leaves_another_byte_is_refused(scale, monkeypatch):
    with pytest.raises(SystemExit, match="job, other, 1 workers: other files"):
        run(scale, monkeypatch, way(scale, "one", "x"), way(scale, "other", "y"))


@pytest.mark.multiprocess
def test_the_commands_and_the_scripts_on_ray_are_compared(scale, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.setattr(scale, "WORKERS", (1,))
    monkeypatch.setattr("sys.argv", ["scale.py", "--count", "3", "--size", "48", "--repeats", "1"])
    scale.main()
    rows = [row.split("|")[1:-1] for row in capsys.readouterr().out.splitlines()[4:]]
    assert [row[1].strip() for row in rows] == ["command", "Ray"] * 2
    assert all(float(row[4]) > 0 for row in rows)

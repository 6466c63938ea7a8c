"""The command that runs all benchmarks."""

import csv
import re
from pathlib import Path

import pytest
from benchmark_scripts import FOLDER, load


def runner():
    return load("__main__")


def test_tables_of_a_text_become_rows():
    module = runner()
    text = "said first\n| a | b |\n|---|---:|\n| x\\|y |  |\nlast\n\n| c |\n|---|\n"
    assert list(module.tables(text)) == [[["a", "b"], ["x|y", ""]], [["c"]]]


def test_a_page_of_results_has_the_command_and_no_folder_of_this_machine(tmp_path):
    module = runner()
    photos = {"data": tmp_path / "photos"}
    words = module.command("heads", True, photos, tmp_path)
    assert words[-2:] == ["--data", str(tmp_path / "photos")]
    told = module.shown_command(words, tmp_path, True)
    page = module.section("heads", told, "12 photos\n| a |\n|---|\n| 1 |")
    assert "--data ROOT`, quick: no measurement, 20" in page
    assert "Steps take turns, so that times can be compared" in page  # what the script says
    assert "python benchmarks/heads.py\n" not in page
    assert "As CSV: [heads.csv](heads.csv)" in page
    assert "12 photos\n\n| a |" in page
    assert str(tmp_path) not in page


def test_photos_and_folders_are_handed_on_to_what_reads_them():
    module = runner()
    photos = {"data": Path("ade"), "pool": Path("all"), "photo": Path("a.jpg")}
    for name, flags in {
        "operators": ["--photo", "a.jpg"],
        "filters": ["--data", "ade"],
        "command": ["--data", "all"],
    }.items():
        words = module.command(name, False, photos, Path("out"))
        assert words[1:] == flags
        told = module.shown_command(words, Path("out"), False)
        assert told == f"`python benchmarks/{name}.py {flags[0]} {flags[0][2:].upper()}`".replace(
            "DATA", "ROOT"
        )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "nowhere"], "--data must be a folder"),
        (["--photo", "."], "--photo must be a file"),
        (["--out", __file__], "--out must be a folder, or new"),
    ],
)
def test_bad_paths_are_refused_before_anything_runs(flags, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick", "--only", "walk", *flags])
    with pytest.raises(SystemExit):
        runner().main()
    assert message in capsys.readouterr().err


def test_what_a_benchmark_lacks_is_said(monkeypatch):
    module = runner()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert module.missing("command", {}) == "photographs: --pool"
    assert module.missing("filters", {}) == "pilgram: pip install 'opmask[dev]'"
    assert module.missing("walk", {}) is None


def test_what_was_asked_for_by_name_and_lacks_something_is_a_failure(tmp_path, monkeypatch):
    module = runner()
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "command", "--out", str(tmp_path)])
    assert module.main() == 1
    assert "`command` needs photographs: --pool." in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("name", [*runner().BENCHMARKS])
def test_every_benchmark_has_a_script_and_flags_that_it_takes(name):
    script = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    module = runner()
    flags = [
        w for w in module.command(name, True, dict.fromkeys(module.FLAGS, Path("x")), Path("y"))
    ]
    assert all(f'"{flag}"' in script for flag in flags if flag.startswith("--"))


def test_tables_of_the_site_are_those_of_its_csv_files():
    module, folder = runner(), FOLDER.parent / "docs" / "benchmarks" / "results"
    parts = re.split(r"^## ", (folder / "summary.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    assert sorted(part.split("\n")[0] for part in parts) == sorted(module.BENCHMARKS)
    there = {path.name: path for path in folder.glob("*.csv")}
    for part in parts:
        name, found = part.split("\n")[0], [*module.tables(part)]
        assert module.described(name) in part
        assert "no measurement" not in part
        for file, rows in zip(module.csv_names(name, len(found)), found, strict=True):
            with there.pop(file).open(newline="", encoding="utf-8") as lines:
                assert [*csv.reader(lines)] == rows
            assert f"[{file}]({file})" in part
    assert not there


@pytest.mark.slow
def test_one_command_runs_benchmarks_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    module = runner()
    monkeypatch.setattr(
        module, "BENCHMARKS", {name: module.BENCHMARKS[name] for name in ("walk",)}
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick", "--out", str(tmp_path)])
    assert module.main() == 0
    rows = (tmp_path / "walk.csv").read_text().splitlines()
    assert rows[0] == "walk,files,jumps"
    assert rows == (FOLDER.parent / "docs/benchmarks/results/walk.csv").read_text().splitlines()
    assert "| walk | files | jumps |" in (tmp_path / "summary.md").read_text()
    written = (tmp_path / "walk.md").stat().st_mtime_ns
    assert module.main() == 0
    assert (tmp_path / "walk.md").stat().st_mtime_ns == written
    assert "Run before, and kept: walk. --overwrite" in capsys.readouterr().out
    # Quick figures do not pass for measurements.
    table = "print('| walk | files | jumps |\\n|---|---|---|\\n| a | 1 | 2 |')"
    monkeypatch.setattr(module, "command", lambda *args: ["-c", table])
    monkeypatch.setattr("sys.argv", ["benchmarks", "--out", str(tmp_path)])
    assert module.main() == 0
    assert "no measurement" not in (tmp_path / "walk.md").read_text()
    assert "kept: walk" not in capsys.readouterr().out
    monkeypatch.setattr(
        module, "command", lambda *args: ["-c", "raise SystemExit('out of order')"]
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", "--out", str(tmp_path), "--overwrite"])
    assert module.main() == 1
    assert "`walk` failed with status 1: out of order" in capsys.readouterr().out
    assert (tmp_path / "walk.csv").exists()

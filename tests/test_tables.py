import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from opmask.metrics import write_scores

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "tables.py"


def rows(mse, names=("a1_1_1", "c2_1_1"), **more):
    return [
        {"name": name, "mse": mse + i, "psnr": 30.0 + i, "ssim": 0.9, **more}
        for i, name in enumerate(names)
    ]


def made(folder, *arguments):
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [str(SCRIPT), str(folder), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return said.getvalue()


def line(text, start, after):
    part = text[text.index(after) :]
    return next(row for row in part.splitlines() if row.startswith(f"| {start} |"))


@pytest.fixture
def folder(tmp_path):
    models = {"composite": rows(100.0), "om": rows(50.0, lpips_vgg=0.02), "mine": rows(40.0)}
    write_scores(tmp_path / "hscene-paper.csv", models, protocol="reference")
    notes = {"data": "scenes", "images": 2, "protocol": "reference", "seconds": {"omgan": 12.34}}
    (tmp_path / "hscene-paper.json").write_text(json.dumps(notes))
    return tmp_path


def test_measured_figures_stand_beside_the_papers(folder):
    row = line(made(folder), "om", "(A): HScene")
    assert row.startswith("| om | 99.84 | 50.50 [50.00, 51.00] | 30.59 | 30.50 [30.00, 31.00] |")
    assert row.endswith("| 0.02 | 0.0200 [0.0200, 0.0200] |")


def test_models_of_ones_own_have_no_published_figures(folder):
    assert "| mine |  | 40.50 [40.00, 41.00] |  |" in made(folder)


def test_each_table_says_what_it_was_measured_on(folder):
    text = made(folder)
    assert "hscene-paper.csv: data scenes, images 2, protocol reference." in text
    assert "hlip-paper.csv: not there." in text


def test_what_was_not_run_does_not_appear(folder):
    text = made(folder)
    assert [title for title in text.splitlines() if title.startswith("##")] == [
        "## Table 2 (A): HScene",
        "## Supplement, table 1 (C): ablation on HScene",
        "## Supplement, table 2 (D): one stage or two, HScene",
    ]
    assert not [name for name in ("rgb", "DIRL", "discriminator") if name in text]
    write_scores(folder / "hscene-paper.csv", {"om": rows(50.0)}, protocol="reference")
    assert "LPIPS" not in made(folder)


def test_the_ablation_takes_each_row_from_its_recipe(folder):
    write_scores(folder / "hscene-plain.csv", {"om": rows(70.0)}, protocol="reference")
    write_scores(folder / "hscene-paper-add.csv", {"om": rows(60.0)}, protocol="reference")
    text = made(folder, "--without-perceptual", "plain")
    assert "92.45 | 60.50 [" in line(text, "add", "(C)")
    assert "99.84 | 50.50 [" in line(text, "add, mul", "(C)")
    assert "105.27 | 70.50 [" in line(text, "add, mul, no perceptual loss", "(C)")


def test_the_time_of_the_whole_set_is_told(folder):
    assert line(made(folder), "omgan", "two, HScene").endswith("| 106.6 | 12.3 |")


def test_models_of_iharmony4_stand_beside_the_paper_s(folder):
    write_scores(folder / "iharmony4-paper.csv", {"ht-lab": rows(20.0)}, protocol="ih4-256")
    assert "| 13.95 | 21.00" in line(made(folder), "HT, LAB, add, mul", "(E)")


def test_iharmony4_is_split_by_the_first_letter_of_names(folder):
    write_scores(folder / "iharmony4-paper.csv", {"om": rows(20.0)}, protocol="ih4-256")
    headings = line(made(folder), "method", "(E)")
    assert headings.count(":") == 6
    assert "HFlickr" not in headings
    cells = line(made(folder), "om", "(E)").split(" | ")
    assert [cell[:6] for cell in cells[1::2]] == ["21.00 ", "20.00 ", "20.50 "]


def test_subsets_are_those_that_scores_name(folder):
    scores = rows(20.0)
    for row, subset in zip(scores, ("HOwn", "HBsds"), strict=True):
        row["subset"] = subset
    path = folder / "iharmony4-paper.csv"
    write_scores(path, {"om": scores}, protocol="ih4-256")
    headings = line(made(folder), "method", "(E)")
    assert headings.startswith(
        "| method | HOwn: MSE | HOwn: PSNR | HBsds: MSE | HBsds: PSNR | all"
    )
    write_scores(path, {"om": scores[:1]}, protocol="ih4-256")
    assert line(made(folder), "method", "(E)") == "| method | all: MSE | all: PSNR |"


def test_two_stages_and_one_stand_beside_the_paper_s_on_hscene(folder):
    models = {"DIRL and DoveNet": rows(30.0), "DoveNet, region given": rows(20.0)}
    write_scores(folder / "two-stages-paper.csv", models, protocol="ih4-256")
    (folder / "two-stages-paper.json").write_text('{"seconds": {"DIRL and DoveNet": 1.0}}')
    two = line(made(folder), "DIRL and DoveNet", "both trained here")
    assert two.startswith("| DIRL and DoveNet | 158.94 | 30.50 [")
    assert two.endswith("| 287.6 | 1.0 |")
    assert line(made(folder), "DoveNet, region given", "both trained").startswith(
        "| DoveNet, region given |  | 20.50 ["
    )


def test_tables_are_written_on_request(folder, tmp_path):
    text = made(folder, "-o", str(tmp_path / "tables.md"))
    assert (tmp_path / "tables.md").read_text() == text[:-1]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "no")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no is not a folder" in done.stderr

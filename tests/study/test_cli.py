import json
import re

import numpy as np
import pytest
from PIL import Image

import opmask
from opmask.cli.study import app
from opmask.study import StudyKey, build_study


def run(*arguments):
    app([str(argument) for argument in arguments], standalone_mode=False)


def build(folders, out, *more):
    methods = [f"--method={name}={folder}" for name, folder in folders.items()]
    run("build", *methods, "-o", out, *more)


def test_a_page_is_built_and_its_files_are_named(folders, tmp_path, capsys):
    build(folders, tmp_path / "study.html")
    size = (tmp_path / "study.html").stat().st_size / 1e6
    assert capsys.readouterr().out.splitlines() == [
        "3 images, 3 methods.",
        f"Page, for the participants: {tmp_path / 'study.html'} ({size:.1f} MB)",
        f"Key, for you alone: {tmp_path / 'study.key.json'}",
    ]


def test_defaults_are_those_of_the_library(folders, tmp_path):
    for folder in folders.values():
        Image.new("RGB", (1025, 2)).save(folder / "wide.png")
    build(folders, tmp_path / "a.html")
    build_study(folders, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_options_reach_the_page(folders, tmp_path):
    inputs = folders["alpha_method"]
    options = ["--title", "T", "--question", "Q?", "--max-side", 50, "--seed", 9]
    build(folders, tmp_path / "a.html", "--input", inputs, *options)
    arguments = {"title": "T", "question": "Q?", "max_side": 50, "seed": 9}
    build_study(folders, tmp_path / "b.html", inputs=inputs, **arguments)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_models_of_a_run_are_methods(folders, tmp_path, capsys):
    for name in "om", "rgb":
        model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(4, width=8), region=True)
        (tmp_path / "run" / name).mkdir(parents=True)
        opmask.save(model, tmp_path / "run" / name / "model.safetensors")
    options = ["--input", folders["beta_method"], "--region", folders["beta_method"]]
    for path in folders["beta_method"].iterdir():
        Image.new("L", (160, 120), 255).save(path.with_name(f"{path.stem}_mask.png"))
    out = tmp_path / "s.html"
    run("build", "--run", tmp_path / "run", *options, "--hide-input", "-o", out, "--work-size", 32)
    assert f"Pictures that models made: {tmp_path / 's.outputs'}" in capsys.readouterr().out
    assert StudyKey.read(tmp_path / "s.key.json").methods == ("om", "rgb")


def test_what_models_need_is_said_in_words_of_the_command(tmp_path):
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
    opmask.save(model, tmp_path / "model.safetensors")
    methods = [f"--method={name}={tmp_path / 'model.safetensors'}" for name in ("a", "b")]
    with pytest.raises(
        ValueError, match="'--input' must be a folder of composites, of which a, b"
    ):
        run("build", *methods, "-o", tmp_path / "s.html")


@pytest.mark.parametrize("text", ["dovenet", "=folder", "dovenet=", "="])
def test_a_method_is_a_name_and_a_source(text, tmp_path):
    with pytest.raises(ValueError, match=f"'--method' must be NAME=SOURCE, got '{text}'."):
        run("build", "--method", text, "-o", tmp_path / "study.html")


def test_a_folder_may_hold_an_equals_sign(folders, tmp_path):
    folders["beta_method"] = folders["beta_method"].rename(tmp_path / "a=b")
    build(folders, tmp_path / "study.html")
    assert "beta_method" in StudyKey.read(tmp_path / "study.key.json").methods


def test_two_methods_of_one_name_are_refused(folders, tmp_path):
    folder = folders["beta_method"]
    with pytest.raises(ValueError, match="must have a different name each time, got 'm' twice"):
        run("build", f"--method=m={folder}", f"--method=m={folder}", "-o", tmp_path / "s.html")


def test_a_table_is_printed_and_written_with_its_json_and_chart(
    page, write_answers, tmp_path, capsys
):
    files = [write_answers("a", [0, 1, 2]), write_answers("b", [0, 0, 0]), write_answers("c", [1])]
    key = page.with_name("study.key.json")
    out, chart = tmp_path / "results.md", tmp_path / "chart.png"
    run("score", *files, "--key", key, "-o", out, "--chart", chart)
    table = out.read_text("utf-8")
    assert capsys.readouterr().out == table
    assert "| alpha_method | 4 | 66.7 |" in table
    record = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert record["participants"] == 2
    assert [share["votes"] for share in record["methods"]] == [4, 1, 1]
    with Image.open(chart) as image:
        assert np.ptp(np.array(image)) == 255


def test_partial_counts_unfinished_answers(page, write_answers, capsys):
    files = [write_answers("a", [0, 1, 2]), write_answers("c", [1])]
    run("score", *files, "--key", page.with_name("study.key.json"), "--partial")
    assert re.search(r"Participants: 2. Answers: 4.*: 1, counted\.", capsys.readouterr().out)


def test_the_table_must_be_markdown(page, write_answers, tmp_path):
    file, key = write_answers("a", [0, 1, 2]), page.with_name("study.key.json")
    with pytest.raises(ValueError, match=r"'--out' must end in .md, got .*results.json"):
        run("score", file, "--key", key, "-o", tmp_path / "results.json")
    assert not (tmp_path / "results.json").exists()


@pytest.fixture
def study(page, write_answers, tmp_path, monkeypatch):
    """A folder with the answers of one participant, `answers-a.json`, and the key."""
    write_answers("a", [0, 1, 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


SCORE = ("score", "answers-a.json", "--key", "study.key.json")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "outputs",
    [
        ["-o", "answers-a.md"],
        ["-o", "study.key.md"],
        ["--chart", "answers-a.json"],
        ["-o", "link.md"],
        ["-o", "new.md", "--chart", "study.key.json"],
    ],
)
def test_answers_and_key_are_never_overwritten(study, outputs):
    (study / "link.json").symlink_to("answers-a.json")
    before = content(study)
    with pytest.raises(ValueError, match="must not be a file that is read, got "):
        run(*SCORE, *outputs, "--overwrite")
    assert content(study) == before


@pytest.mark.parametrize("name", ["new.md", "new.json", "chart.png"])
def test_results_that_are_there_are_replaced_only_on_request(study, name):
    (study / name).write_text("mine")
    arguments = [*SCORE, "-o", "new.md", "--chart", "chart.png"]
    before = content(study)
    with pytest.raises(ValueError, match=rf"must be a new file, got {name}. --overwrite replaces"):
        run(*arguments)
    assert content(study) == before
    run(*arguments, "--overwrite")
    assert (study / name).read_bytes() != b"mine"


def test_outputs_of_one_command_are_different_files(study):
    with pytest.raises(ValueError, match="'--chart' must be another file than 'the JSON beside"):
        run(*SCORE, "-o", "new.md", "--chart", "new.json")
    assert not (study / "new.md").exists()


def test_a_page_or_key_that_is_there_is_replaced_only_on_request(folders, tmp_path):
    (tmp_path / "study.html").touch()
    with pytest.raises(ValueError, match=r"must be a new file, got \S+study.html. --overwrite"):
        build(folders, tmp_path / "study.html")
    build(folders, tmp_path / "study.html", "--overwrite")
    (tmp_path / "study.html").unlink()
    with pytest.raises(ValueError, match=r"'the key' must be a new file, got \S+key.json"):
        build(folders, tmp_path / "study.html")


def test_an_image_of_the_study_is_never_overwritten(folders):
    image = folders["alpha_method"] / "barn.png"
    before = image.read_bytes()
    with pytest.raises(ValueError, match="'out' must not be a file that is read, got "):
        build(folders, image, "--overwrite")
    assert image.read_bytes() == before

"""`opmask harmonize` with several photos."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import opmask
from opmask import OperatorMaskWrapper, cli
from opmask.backbones import SmallUNet
from opmask.cli import harmonizing
from opmask.inference import harmonize, plan


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint with masks that differ from place to place."""
    torch.manual_seed(0)
    model = OperatorMaskWrapper(SmallUNet(4, width=8), region=True)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    opmask.save(model, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three photos with regions."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("photos")
    os.makedirs("masks")
    for name in "abc":
        pixels = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(f"photos/{name}.png")
        region = np.uint8(255 * (np.arange(60) > 30)[None].repeat(40, 0))
        Image.fromarray(region).save(f"masks/{name}_mask.png")
    return tmp_path


@pytest.fixture
def run(folder, model, capsys):
    def run(*arguments, model=model):
        """The status, and the lines of the standard output and error."""
        command = ["harmonize", *arguments, "--model", str(model), "--device", "cpu"]
        with pytest.raises(SystemExit) as end:
            cli.main(command)
        output, errors = capsys.readouterr()
        return end.value.code, output.splitlines(), errors.splitlines()

    return run


def contents():
    return sorted(os.listdir("out")) if os.path.isdir("out") else []


def test_each_photo_is_harmonized_as_by_the_library(run, model):
    status, output, errors = run("photos", "-o", "out/new", "--region", "masks")
    assert (status, errors) == (0, [])
    loaded = opmask.load(model)
    for name, line in zip("abc", output, strict=True):
        assert line.startswith(f"Written: out/new/{name}.png (60x40; ")
        photo, region = (Image.open(f) for f in (f"photos/{name}.png", f"masks/{name}_mask.png"))
        assert np.array_equal(
            Image.open(f"out/new/{name}.png"), harmonize(loaded, photo, region=region)
        )


def test_the_model_is_loaded_once(run, monkeypatch):
    loaded = []
    load = harmonizing.load
    monkeypatch.setattr(harmonizing, "load", lambda path: loaded.append(path) or load(path))
    run("photos/*.png", "-o", "out")
    assert len(loaded) == 1


def test_finished_photos_stay_and_are_said(run):
    run("photos", "-o", "out")
    os.unlink("out/b.png")
    times = os.stat("out/a.png").st_mtime_ns
    status, output, _ = run("photos", "-o", "out")
    assert (status, len(output)) == (0, 2)
    assert output[0] == "2 of 3 photos are there already, and stay. --overwrite redoes them."
    assert output[1].startswith("Written: out/b.png")
    assert os.stat("out/a.png").st_mtime_ns == times
    assert len(run("photos", "-o", "out", "--overwrite")[1]) == 3
    assert os.stat("out/a.png").st_mtime_ns > times


def snapshot():
    """All that was written, and when."""
    folders = ("out", "new", "edits", "panels")
    return {path: path.stat().st_mtime_ns for folder in folders for path in Path(folder).glob("*")}


BESIDE = ("--save-edits", "edits", "--panel", "panels")


def test_edits_and_panels_that_are_missing_are_made_beside_finished_photos(run):
    run("photos", "-o", "out")
    before = snapshot()
    status, output, _ = run("photos", "-o", "out", *BESIDE)
    assert (status, snapshot().items() >= before.items()) == (0, True)
    assert output[0].startswith("Written: edits/a.png.opmask, panels/a.png.png (60x40; ")
    assert output[0].endswith(" out/a.png was there, and stays.")
    photo, written = (opmask.read_photo(f"{folder}/b.png") for folder in ("photos", "out"))
    edit = opmask.Edit.load("edits/b.png.opmask")
    assert np.array_equal(edit.render(photo).pixels, written.pixels)
    assert run("photos", "-o", "out", *BESIDE)[1] == [
        "3 of 3 photos are there already, and stay. --overwrite redoes them."
    ]


@pytest.mark.parametrize("gone", ["out/b.png", "edits/b.png.opmask", "panels/b.png.png"])
def test_a_photo_is_finished_only_if_all_that_is_asked_for_is_there(run, gone):
    run("photos", "-o", "out", *BESIDE)
    before = snapshot()
    os.unlink(gone)
    status, output, _ = run("photos", "-o", "out", *BESIDE)
    assert (status, output[0][:31]) == (0, "2 of 3 photos are there already")
    assert output[1].startswith(f"Written: {gone} (60x40; ")
    changed = {str(path) for path, _ in snapshot().items() ^ before.items()}
    assert changed == {gone}


def test_a_photo_of_other_options_gets_no_edit_that_does_not_give_it(run):
    run("photos/a.png", "photos/b.png", "-o", "out", "--strength", "0.5")
    before = snapshot()
    status, output, lines = run("photos", "-o", "out", "--save-edits", "edits")
    assert (status, len(output), len(lines)) == (1, 1, 3)
    assert "out/a.png is there already, and other than these options make it." in lines[0]
    assert snapshot().keys() - before.keys() == {Path("out/c.png"), Path("edits/c.png.opmask")}
    assert snapshot().items() >= before.items()


def test_a_finished_photo_that_is_damaged_is_said_and_stays(run):
    run("photos", "-o", "out")
    Path("out/b.png").write_bytes(b"half")
    status, output, [line, _] = run("photos", "-o", "out", "--save-edits", "edits")
    assert (status, len(output)) == (1, 2)
    assert line.startswith("opmask: photos/b.png: out/b.png cannot be read: ")
    assert Path("out/b.png").read_bytes() == b"half"


def test_a_panel_that_cannot_be_written_is_named_once(run, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    errors = run("photos/a.png", "-o", "new.png", "--panel", "panel.png")[2]
    assert errors == [
        "opmask: 'panel.png' cannot be written: No space left on device. Free some space there, "
        "or choose another folder."
    ]


def test_where_all_is_finished_no_model_is_loaded(run):
    run("photos", "-o", "out")
    status, output, errors = run("photos", "-o", "out", model="gone")
    assert (status, errors) == (0, [])
    assert output == ["3 of 3 photos are there already, and stay. --overwrite redoes them."]


def spoil():
    Image.new("RGB", (40, 12)).save("photos/small.png")
    with open("photos/b.png", "wb") as file:
        file.write(b"half")


def test_a_bad_photo_is_reported_and_the_others_go_on(run):
    spoil()
    status, output, errors = run("photos", "-o", "out")
    assert (status, len(output), contents()) == (1, 2, ["a.png", "c.png"])
    assert errors[0].startswith("opmask: photos/b.png cannot be read: it is no picture")
    assert errors[1].startswith("opmask: photos/small.png must be of at least 16x16")
    assert errors[2:] == ["opmask: 2 of 4 photos failed."]


def test_a_failure_on_the_way_costs_one_photo(run, monkeypatch):
    calls = []

    def fail_once(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError
        return plan(*arguments, **options)

    monkeypatch.setattr(harmonizing, "plan", fail_once)
    status, output, errors = run("photos", "-o", "out")
    assert (status, len(output), contents()) == (1, 2, ["a.png", "c.png"])
    assert errors[0].startswith("opmask: photos/b.png: there is not enough memory.")


def test_ctrl_c_that_python_turns_into_another_error_ends_all(run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(harmonizing, "plan", fail)
    status, output, errors = run("photos", "-o", "out")
    assert (status, output, errors[-1], contents()) == (130, [], "Interrupted.", [])


def test_a_model_or_a_setting_that_is_refused_ends_all(run):
    status, output, errors = run("photos", "-o", "out", model="gone")
    assert (status, output, len(errors), contents()) == (1, [], 1, [])
    status, output, errors = run("photos", "-o", "out", "--work-size", "3")
    assert (status, output, len(errors), contents()) == (1, [], 1, [])


def test_a_blind_model_refuses_a_region_once(run, tmp_path):
    opmask.save(OperatorMaskWrapper(SmallUNet(width=8)), tmp_path / "blind.safetensors")
    status, output, errors = run(
        "photos", "-o", "out", "--region", "masks", model=tmp_path / "blind.safetensors"
    )
    assert (status, output, contents()) == (1, [], [])
    assert errors[0].startswith("opmask: '--model' must be one that takes a region")


def test_one_line_of_json_for_each_photo(run):
    spoil()
    run("photos/a.png", "photos/c.png", "-o", "out")
    os.unlink("out/c.png")
    status, output, errors = run("photos", "-o", "out", "--json")
    lines = {line["photo"]: line for line in map(json.loads, output)}
    assert (status, len(output), errors[-1]) == (1, 4, "opmask: 2 of 4 photos failed.")
    assert lines["photos/a.png"] == {
        "photo": "photos/a.png",
        "region": None,
        "out": "out/a.png",
        "status": "finished",
    }
    assert lines["photos/b.png"]["status"] == "failed"
    assert lines["photos/b.png"]["error"].startswith("photos/b.png cannot be read")
    found = lines["photos/c.png"]
    assert (found["status"], found["width"], found["height"]) == ("written", 60, 40)
    assert f"{found['changed']:.0%} of it visibly changed" == found["remark"]


def test_one_photo_is_one_line_of_json_also_where_it_fails(run):
    arguments = ["-o", "new.png", "--region", "masks/a_mask.png", "--json"]
    [line] = run("photos/a.png", *arguments)[1]
    assert json.loads(line)["region"] == "masks/a_mask.png"
    spoil()
    status, [line], errors = run("photos/b.png", "-o", "b.png", "--json")
    assert (status, json.loads(line)["status"], len(errors)) == (1, "failed", 1)


def test_what_is_refused_for_all_photos_is_a_line_of_json_for_each(run):
    spoil()
    status, output, errors = run("photos", "-o", "out", "--json", model="gone")
    lines = list(map(json.loads, output))
    assert (status, [line["status"] for line in lines]) == (1, ["failed"] * 4)
    assert [Path(line["photo"]).stem for line in lines] == ["a", "b", "c", "small"]
    assert f"opmask: {lines[-1]['error']}" == errors[-1]


def test_photos_that_are_not_found_are_lines_of_json(run):
    status, output, [line] = run("photos/a.png", "gone.png", "-o", "out", "--json")
    lines = list(map(json.loads, output))
    assert (status, [one["photo"] for one in lines]) == (1, ["photos/a.png", "gone.png"])
    assert {one["error"] for one in lines} == {line.removeprefix("opmask: ")}


def test_an_interrupted_run_goes_on_where_it_was(run, monkeypatch):
    def interrupt(model, photo, **options):
        if contents():
            signal.raise_signal(signal.SIGINT)
        return plan(model, photo, **options)

    monkeypatch.setattr(harmonizing, "plan", interrupt)
    status, output, errors = run("photos", "-o", "out")
    assert (status, len(output), errors) == (130, 1, ["Interrupted."])
    assert contents() == ["a.png"]
    monkeypatch.setattr(harmonizing, "plan", plan)
    assert len(run("photos", "-o", "out")[1]) == 3
    assert contents() == ["a.png", "b.png", "c.png"]


def test_a_photo_whose_panel_fails_is_not_finished(run, monkeypatch):
    def fail(*_):
        raise OSError("no panel")

    monkeypatch.setattr(harmonizing, "draw_panel", fail)
    assert run("photos", "-o", "out", *BESIDE)[0] == 1
    assert (contents(), os.listdir("edits"), os.listdir("panels")) == ([], [], [])
    monkeypatch.undo()


def test_edits_and_panels_of_before_are_replaced_on_request_only(run):
    assert run("photos", "-o", "out", "--save-edits", "edits")[0] == 0
    before = snapshot()
    other = ("photos", "-o", "new", "--save-edits", "edits", "--strength", "0.5")
    status, output, lines = run(*other)
    assert (status, output, snapshot(), len(lines)) == (1, [], before, 4)
    assert lines[0] == (
        "opmask: photos/a.png: edits/a.png.opmask is there already, and other than these options "
        "make it. Choose another folder; --overwrite replaces it."
    )
    assert run(*other, "--overwrite")[0] == 0


def test_a_line_stays_one_whatever_the_name_of_a_photo(run):
    os.rename("photos/a.png", "photos/a\n\x1b[31m.png")
    status, output, errors = run("photos", "-o", "out")
    assert (status, len(output), errors) == (0, 3, [])
    assert output[0].startswith(r"Written: out/a\n\x1b[31m.png (60x40; ")


def test_progress_is_shown_in_a_terminal_only_and_of_several_photos_only(run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert any("photo/s" in line for line in run("photos", "-o", "out")[2])
    assert run("photos/a.png", "-o", "new.png")[2] == []


@pytest.mark.slow
def test_the_command_does_a_folder_by_itself(folder, model):
    program = [sys.executable, "-W", "error", "-m", "opmask", "harmonize", "photos", "-o", "out"]
    done = subprocess.run(
        [*program, "--model", model, "--device", "cpu"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr, done.stdout.count("Written: ")) == (0, "", 3)

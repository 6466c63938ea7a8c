import pytest
import torch
from reproduction import checkpoint
from torch import nn
from torch.utils.data import Subset

from opmask.datasets import PhotoFiles, SyntheticScenes


def test_a_full_disk_leaves_the_previous_checkpoint(monkeypatch, tmp_path):
    parts = {"model": nn.Linear(2, 2)}
    checkpoint.save_state(tmp_path, parts, 1)

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_state(tmp_path, parts, 2)
    assert checkpoint.load_state(tmp_path, parts) == 1
    assert [file.name for file in (tmp_path / "checkpoint").iterdir()] == ["state.pt"]


@pytest.mark.parametrize("parts", [{"model": nn.Linear(3, 2)}, {"model": nn.Conv2d(2, 2, 1)}])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, parts):
    checkpoint.save_state(tmp_path, {"model": nn.Linear(2, 2)}, 1)
    with pytest.raises(SystemExit, match=r"state.pt is of another configuration: model: "):
        checkpoint.load_state(tmp_path, parts)


def test_a_checkpoint_with_other_parts_is_refused(tmp_path):
    checkpoint.save_state(tmp_path, {"model": nn.Linear(2, 2)}, 1)
    message = r"another configuration: it holds \['model', 'step'\], this run has \['average', 'm"
    with pytest.raises(SystemExit, match=message):
        checkpoint.load_state(tmp_path, {"model": nn.Linear(2, 2), "average": nn.Linear(2, 2)})


def test_every_setting_that_changed_is_named(tmp_path):
    checkpoint.open_run(tmp_path, {"seed": "0", "lr of om": "0.1", "size": "32"}, resume=False)
    message = "but seed was 0, is 1; lr of om was 0.1, is 0.2.$"
    with pytest.raises(SystemExit, match=message):
        checkpoint.open_run(tmp_path, {"seed": "1", "lr of om": "0.2", "size": "32"}, resume=True)


def test_settings_that_a_run_lacks_are_new_or_those_of_an_older_version(tmp_path):
    checkpoint.open_run(tmp_path, {"seed": "0"}, resume=False)
    checkpoint.open_run(tmp_path, {"seed": "0", "lr of om": "0.1"}, resume=True)
    with pytest.raises(SystemExit, match="of an older version, without eps, gate"):
        checkpoint.open_run(tmp_path, {"eps": "1", "gate": "2"}, resume=True, whole=True)
    checkpoint.open_run(tmp_path, {"lr of om": "0.1"}, resume=True, whole=True)


def test_a_damaged_state_is_named(tmp_path):
    parts = {"model": nn.Linear(2, 2)}
    checkpoint.save_state(tmp_path, parts, 3)
    path = tmp_path / "checkpoint" / "state.pt"
    for size in len(path.read_bytes()) // 2, 0:
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(SystemExit, match=r"state\.pt cannot be read, it is damaged: "):
            checkpoint.load_state(tmp_path, parts)


def test_a_moved_data_root_is_said_and_allowed(tmp_path, capsys):
    checkpoint.open_run(tmp_path, {"data": "/a", "photos": "7, checksum x"}, resume=False)
    checkpoint.open_run(tmp_path, {"data": "/b", "photos": "7, checksum x"}, resume=True)
    assert capsys.readouterr().out == (
        "Resuming although data was /a, is /b. The photos are the same.\n"
    )


def test_runs_whose_perturbations_had_an_older_name_are_resumed(tmp_path, capsys):
    older = {"data": "reference-lab", "perturb of om": "reference-lab"}
    checkpoint.open_run(tmp_path, older, resume=False)
    checkpoint.open_run(tmp_path, {**older, "perturb of om": "reference"}, resume=True)
    assert capsys.readouterr().out == ""


def test_other_photos_are_refused(tmp_path):
    checkpoint.open_run(tmp_path, {"data": "/a", "photos": "7, checksum x"}, resume=False)
    with pytest.raises(SystemExit, match="but photos was 7, checksum x, is 7, checksum y"):
        checkpoint.open_run(tmp_path, {"data": "/a", "photos": "7, checksum y"}, resume=True)


def test_other_processes_are_said_and_allowed_and_other_batches_refused(tmp_path, capsys):
    name = "images in a step"
    checkpoint.open_run(tmp_path, {"processes": "2", name: "8"}, resume=False)
    checkpoint.open_run(tmp_path, {"processes": "1", name: "8"}, resume=True)
    assert "processes was 2, is 1. A step has as many images" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="images in a step was 8, is 4"):
        checkpoint.open_run(tmp_path, {"processes": "1", name: "4"}, resume=True)


def test_a_model_may_be_added(tmp_path):
    checkpoint.open_run(tmp_path, {"seed": "0", "lr of om": "1"}, resume=False)
    checkpoint.open_run(tmp_path, {"seed": "0", "lr of rgb": "2"}, resume=True)
    with pytest.raises(SystemExit, match="lr of om was 1, is 3"):
        checkpoint.open_run(tmp_path, {"seed": "0", "lr of om": "3"}, resume=True)


class Files(PhotoFiles):
    def __init__(self, root, *names):
        self.pairs = [(root / f"{name}.jpg", root / f"{name}.png") for name in names]


def test_photos_are_known_by_their_names_and_order_wherever_they_lie(tmp_path):
    def describe(root, *names, kept=(0, 1)):
        return checkpoint.describe_photos(Subset(Files(root, *names), kept))

    here = describe(tmp_path, "a", "b")
    assert here.startswith("2, checksum of names ")
    assert describe(tmp_path / "moved", "a", "b") == here
    assert len({here, describe(tmp_path, "b", "a"), describe(tmp_path, "a", "b", kept=(0,))}) == 3
    assert checkpoint.describe_photos(SyntheticScenes(4)) == "4 synthetic"


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(SystemExit, match=r"holds results.json, but no run. Give another --out"):
        checkpoint.open_run(tmp_path, {}, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

"""Two stages and one in one table."""

import json
import signal
import sys
from dataclasses import replace

import pytest
import torch
import two_stages
from PIL import Image
from reproduction import given_task
from small_training import shrink
from torch import nn

import opmask

TINY = "--steps 2 --size 32 --batch-size 2 --width 4 --critic-width 4 --workers 0 --device cpu"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch.setattr)


def run(monkeypatch, out, *flags):
    argv = ["two_stages.py", *TINY.split(), "--out", str(out), *flags]
    monkeypatch.setattr(sys, "argv", argv)
    two_stages.main()


@pytest.mark.slow
def test_a_run_leaves_one_table_of_both(monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path)
    table = (tmp_path / "results.md").read_text()
    ways = [line.split("|")[1].strip() for line in table.splitlines()[2:6]]
    assert ways == ["composite", "DIRL and DoveNet", "DoveNet, region given", "om, one stage"]
    assert all(float(line.split("|")[5]) > 0 for line in table.splitlines()[3:6])
    assert "DIRL finds the regions with AP" in table
    notes = json.loads((tmp_path / "scores.json").read_text())
    assert (notes["data"], list(notes["seconds"])) == ("synthetic scenes", ways[1:])
    assert (tmp_path / "scores.csv").read_text().startswith("model,protocol,name,subset,mse,psnr")
    assert table in capsys.readouterr().out
    Image.open(tmp_path / "panel.png").verify()
    assert not opmask.load(tmp_path / "om" / "model.safetensors").region


@pytest.mark.slow
def test_a_finished_run_is_only_scored_again(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path)
    before = (tmp_path / "dirl" / "weights.safetensors").read_bytes()
    with pytest.raises(SystemExit, match="already holds a run"):
        run(monkeypatch, tmp_path)
    run(monkeypatch, tmp_path, "--resume")
    assert (tmp_path / "dirl" / "weights.safetensors").read_bytes() == before


@pytest.mark.slow
def test_dirl_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    recipe = replace(two_stages.DIRL_PUBLISHED, steps=3, size=32, batch_size=2, width=4)
    options = two_stages.StageOptions(out=tmp_path, device="cpu", workers=0)
    given_task.make_scenes(tmp_path / "ih", 32, 0)
    files = [tmp_path / name / "weights.safetensors" for name in ("whole", "parts")]
    two_stages.train_finder(recipe, tmp_path / "ih", options, files[0])
    loss, calls = two_stages.localization_loss, []

    def interrupting(*args):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return loss(*args)

    monkeypatch.setattr(two_stages, "localization_loss", interrupting)
    with pytest.raises(KeyboardInterrupt, match=r"at step 2 of dirl\. Add --resume"):
        two_stages.train_finder(recipe, tmp_path / "ih", options, files[1])
    two_stages.train_finder(recipe, tmp_path / "ih", options, files[1])
    assert len(calls) == 3
    assert files[0].read_bytes() == files[1].read_bytes()
    logs = [file.with_name("log.csv").read_text() for file in files]
    assert logs[0] == logs[1]


def test_dirl_is_not_trained_while_other_processes_wait(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe, options = two_stages.DIRL_PUBLISHED, two_stages.StageOptions(out=tmp_path)
    with pytest.raises(SystemExit, match="Start without a launcher; once DIRL"):
        two_stages.train_finder(recipe, tmp_path, options, tmp_path / "weights.safetensors")


def test_the_second_stage_is_given_what_the_first_found():
    class Finder(nn.Module):
        def forward(self, image):
            return image[:, :1]

    given = []

    def harmonize(image, region):
        given.append(region)
        return opmask.Retouched(image, {})

    image = torch.rand(1, 3, 16, 16)
    stages = two_stages.TwoStages(Finder(), nn.Identity())
    stages.model.forward = harmonize
    stages(image)
    assert torch.equal(given[0], (image[:, :1] > 0.5).float())


def test_the_published_recipes_of_both_stages_and_of_one():
    recipes = two_stages._family("published")
    assert recipes["dirl"].steps == 60 * 8218
    assert (recipes["dovenet"].batch, recipes["om"].batch) == (1, 256)
    assert recipes["om"].backbone == "attention-unet"

import json
import sys

import blind_baselines
import pytest
import torch
from reproduction.blind import BLIND, ColorTransform, MixedTables, network
from reproduction.iharmony4 import read_iharmony4, score_iharmony4

import opmask
from opmask.datasets import IHarmony4, MakingConfig, SyntheticScenes, make_iharmony4

OPERATORS = (ColorTransform(), MixedTables(), MixedTables(count=2, size=4, whole=True))


@pytest.fixture
def iharmony4(tmp_path):
    """Five scenes in iHarmony4's format, two of them to test on."""
    photos = {
        "train": SyntheticScenes(3, size=32),
        "test": SyntheticScenes(2, size=32, seed=5),
    }
    make_iharmony4(photos, tmp_path / "ih", MakingConfig("HScenes"))
    return tmp_path / "ih"


def run(monkeypatch, out, *flags: str) -> None:
    sizes = ["--smoke", "--steps", "2", "--size", "32", "--width", "8", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["blind_baselines.py", *sizes, *flags])
    monkeypatch.setattr(blind_baselines, "SMOKE_SCENES", 16)
    blind_baselines.main()


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_operators_keep_the_contract(operator):
    opmask.testing.check_operator(operator)


def test_colours_are_transformed_by_a_matrix_and_an_addend():
    image, mask = torch.rand(2, 3, 4, 5), torch.randn(2, 12, 4, 5)
    matrix = mask.view(2, 3, 4, 4, 5)
    expected = torch.einsum("bcdhw,bdhw->bchw", matrix[:, :, :3], image) + matrix[:, :, 3]
    torch.testing.assert_close(ColorTransform()(image, mask), expected)


def test_tables_are_read_trilinearly():
    operator = MixedTables(count=1, size=3)
    red, green, blue = torch.meshgrid(*[torch.linspace(0, 1, 3)] * 3, indexing="ij")
    change = torch.stack([red * green, blue, 2 * red])  # by red, green, blue
    with torch.no_grad():
        operator.tables.copy_(change.permute(0, 3, 2, 1)[None])
    image = torch.rand(1, 3, 4, 5)
    r, g, b = image.unbind(1)
    weight = torch.rand(1, 1, 4, 5)
    expected = image + weight * torch.stack([r * g, b, 2 * r], 1)
    torch.testing.assert_close(operator(image, weight), expected)


def test_whole_weights_are_means_and_tables_learn():
    operator = MixedTables(count=2, whole=True)
    image, mask = torch.rand(2, 3, 4, 6), torch.rand(2, 2, 4, 6)
    flat = mask.mean((2, 3), keepdim=True).expand_as(mask)
    torch.testing.assert_close(operator(image, mask), operator(image, flat))
    operator(image, mask).sum().backward()
    assert operator.tables.grad.abs().sum() > 0


@pytest.mark.parametrize("name", BLIND)
def test_every_baseline_begins_as_the_identity_and_gets_gradients(name):
    model = opmask.OperatorMaskWrapper(network(name, 8), BLIND[name]())
    image = torch.rand(2, 3, 40, 50)
    restored, _ = model(image)
    torch.testing.assert_close(restored, image, rtol=0, atol=2e-5)
    (restored - torch.rand_like(image)).square().mean().backward()
    assert model.head.layer.weight.grad.abs().sum() > 0


def test_a_run_prints_and_writes_one_table(monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path, "--models", "pct", "lut")
    table = (tmp_path / "results.md").read_text()
    assert table.splitlines()[0] == "| model | parameters | MSE | PSNR | fMSE | IoU | seconds |"
    assert table.splitlines()[:5] == capsys.readouterr().out.splitlines()[:5]
    assert "Synthetic scenes, 32 px: 2 steps of 8, SmallUNet of width 8, seed 0." in table
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", "pct", "lut"]
    with pytest.raises(SystemExit, match="'table' must be a new file"):
        run(monkeypatch, tmp_path)


def test_all_models_see_the_same_batches_and_begin_with_the_same_network(monkeypatch, tmp_path):
    seen = {}

    def train(model, batches, steps, title):
        weights = torch.cat([p.flatten() for p in model.backbone.parameters()])
        seen[title] = weights, *(batch.composite for batch in batches)
        return 0.0

    monkeypatch.setattr(blind_baselines, "train", train)
    run(monkeypatch, tmp_path, "--models", "dccf", "om")
    assert len(seen["om"]) == 3
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))
    assert not torch.equal(*seen["om"][1:])


def test_sets_in_iharmony4s_format_are_taken(monkeypatch, iharmony4, tmp_path):
    run(monkeypatch, tmp_path, "--iharmony4", str(iharmony4), "--models", "rgb-residual")
    composite, model = json.loads((tmp_path / "results.json").read_text())
    assert composite["iou"] == 0
    assert model["mse"] != composite["mse"]


def test_photos_to_score_on_are_not_those_of_training(iharmony4):
    batches = read_iharmony4(iharmony4, size=32, batch=3, steps=range(2))
    train = IHarmony4(iharmony4, "train", size=32)
    photos = [sample.real for sample in train]
    for batch in batches:
        assert len(batch.composite) == 3
        for real in batch.real:
            assert any(torch.equal(real, p) or torch.equal(real.flip(-1), p) for p in photos)
    rows = score_iharmony4(None, iharmony4, size=32)
    assert [row["subset"] for row in rows] == ["HScenes"] * 2
    assert {row["name"] for row in rows}.isdisjoint(path.stem for path in train.paths)


def test_training_batches_depend_on_step_and_seed_alone(iharmony4):
    def composites(steps, seed=0):
        batches = read_iharmony4(iharmony4, size=32, batch=2, steps=steps, seed=seed)
        return [batch.composite for batch in batches]

    whole, rest = composites(range(4)), composites(range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))
    assert not torch.equal(whole[0], composites(range(1), seed=1)[0])

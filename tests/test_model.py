"""The bundled model: that it is there, is what its card says, and does what its card says."""

import re

import pytest
from PIL import Image

import opmask
from opmask.checkpoints.native import IN_THE_BOX
from opmask.datasets import Composites, SyntheticScenes
from opmask.perturb import Perturber


@pytest.fixture(scope="module")
def model():
    return opmask.load().eval()


def test_it_is_small(model):
    assert IN_THE_BOX.stat().st_size <= 10_000_000
    assert sum(p.numel() for p in model.parameters()) <= 5_000_000


def test_its_card_is_beside_it():
    card = IN_THE_BOX.with_suffix(".md").read_text(encoding="utf-8")
    assert "research" in card.split("\n\n")[1]  # the terms of its photographs come first
    assert "python examples/train_small.py" in card


def test_it_takes_a_region_and_predicts_a_gate(model):
    assert model.region
    assert list(model.retoucher.ranges)[-1] == "gate"
    assert model.calibration is not None


def test_it_brings_changed_regions_of_unseen_scenes_back(model):
    composites = Composites(SyntheticScenes(8, size=128, seed=2**31), Perturber(), seed=0)
    before = after = 0.0
    for composite, real, region, *_ in composites:
        output = opmask.harmonize(model, composite, region=region)
        before += (composite - real).square().mean().item()
        after += (output - real).square().mean().item()
    assert after < 0.8 * before


def test_without_a_model_the_command_takes_the_one_in_the_box(tmp_path):
    from opmask.cli import main

    Image.new("RGB", (64, 48), "teal").save(tmp_path / "photo.png")
    with pytest.raises(SystemExit) as stop:
        main(["harmonize", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png")])
    assert stop.value.code == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (64, 48)


@pytest.mark.slow
def test_it_reproduces_its_row_of_the_card(model, data_root, tmp_path):
    from reproduction.small.pool import Pool, pack
    from reproduction.small.scoring import score, summarize

    card = IN_THE_BOX.with_suffix(".md").read_text(encoding="utf-8")
    validation = card.split("### validation")[1]
    share, decibels = re.search(
        r"\| exact \|.*?([\d.]+) \[.*?([+-][\d.]+) \[", validation
    ).groups()
    packed = pack(Pool(data_root, "validation", size=256), tmp_path, workers=2)
    found = summarize(score(model, packed, ("exact",), size=256))
    assert found["exact"] == pytest.approx(float(share), abs=0.01)
    assert found["exact dB"] == pytest.approx(float(decibels), abs=0.05)

import csv
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from reproduction.small import calibrate, card, pool
from reproduction.small.calibrate import STRENGTHS, ImageRegions
from reproduction.small.kinds import KINDS
from reproduction.small.network import build, fast_precision
from reproduction.small.scoring import Row, scenes

import opmask


def found(gains, confidence=0.8, error=100.0, untouched=False, groups=("mixed",)):
    """An image with one found region, whose error falls in proportion to the strength."""
    regions = [(confidence, 0.5, np.array(STRENGTHS) * gains)]
    return ImageRegions(untouched, error, groups, {t: regions for t in calibrate.THRESHOLDS})


@pytest.fixture
def model():
    """One whose gate is open on the left half and whose masks brighten."""
    model = build(8, "none").eval()
    torch.nn.init.normal_(model.backbone.out.weight)
    return model


def test_regions_that_help_get_full_strength():
    fitted = calibrate.fit([found(60.0), found(40.0)])
    assert fitted.strength == (1.0,)
    assert fitted.confidence == (0.8,)


def test_regions_that_harm_get_none():
    assert calibrate.fit([found(-60.0), found(-10.0)]).strength == (0.0,)


def test_what_harms_at_low_confidence_and_helps_at_high_is_told_apart():
    images = [found(-30.0, 0.3), found(-20.0, 0.35), found(50.0, 0.8), found(70.0, 0.9)]
    fitted = calibrate.fit(9 * images)
    strengths = np.interp([0.3, 0.9], fitted.confidence, fitted.strength)
    assert strengths.tolist() == [0.0, 1.0]
    assert list(fitted.strength) == sorted(fitted.strength)


def test_where_hardly_a_photo_was_seen_nothing_is_done():
    confidences = np.linspace(0.1, 0.5, 400)
    fitted = calibrate.fit([found(60.0, confidence) for confidence in confidences])
    assert fitted.confidence[-1] == pytest.approx(np.quantile(confidences, 0.995), abs=1e-3)
    assert fitted.strength[-2:] == (1.0, 0.0)


def test_psnr_must_not_fall_though_mse_does():
    helped = [found(500.0, error=2000.0)]
    harmed = [found(-3.0, error=5.0) for _ in range(3)]
    assert calibrate.fit(helped).strength == (1.0,)
    assert calibrate.fit(helped + harmed).strength == (0.0,)


@pytest.mark.parametrize(("allowed", "strength"), [(0.0, 0.0), (0.05, 0.1), (9.0, 1.0)])
def test_no_group_may_lose_though_all_together_gain(monkeypatch, allowed, strength):
    monkeypatch.setattr(calibrate, "ALLOWED", allowed)
    helped = [found(90.0) for _ in range(9)]
    harmed = [found(-9.0, groups=("light",)) for _ in range(2)]
    assert calibrate.fit(helped).strength == (1.0,)
    assert calibrate.fit(helped + harmed).strength == (strength,)


def test_a_gain_must_be_nearly_sure():
    gains = np.array([1.0, 2.0, 3.0, 6.0])
    assert calibrate.surely(gains) == pytest.approx(3 - 1.96 * gains.std() / 2)
    unsure = [found(60.0), found(60.0), found(-90.0)]
    assert calibrate.fit(unsure).strength == (0.0,)


def test_harm_to_untouched_photos_counts():
    helped = [found(20.0)]
    harmed = [found(-200.0, error=0.0, untouched=True) for _ in range(5)]
    assert calibrate.fit(helped).strength == (1.0,)
    assert calibrate.fit(helped + harmed).strength == (0.0,)


def test_gains_are_linear_between_strengths_and_summed_over_the_regions_of_an_image():
    gains = np.array(STRENGTHS) ** 2
    pair = [(0.5, 1.0, 10 * gains), (0.7, 1.0, gains)]
    images = [
        ImageRegions(*about, (), {0.2: found})
        for *about, found in (
            (False, 9.0, pair),
            (True, 0.0, []),
        )
    ]
    regions = calibrate.regions_at(images, 0.2)
    gained = calibrate.gained_mse(regions, np.array([0.25, 1.0]))
    expected = 10 * np.interp(0.25, STRENGTHS, gains) + gains[-1]
    np.testing.assert_allclose(gained, [expected, 0.0])


def test_a_model_that_finds_nothing_is_calibrated_too():
    nothing = ImageRegions(False, 10.0, ("mixed",), {t: [] for t in calibrate.THRESHOLDS})
    assert calibrate.fit([nothing]).strength == (0.0,)


def test_found_regions_and_their_errors_are_what_plain_loops_say():
    gate = torch.zeros(1, 8, 8)
    gate[:, :4, :4], gate[:, 6:, 6:] = 0.9, 0.45
    errors = torch.rand(len(STRENGTHS), 8, 8)
    region = torch.zeros(1, 8, 8)
    region[:, :4, :2] = 1
    made = calibrate.regions_of_image(False, ("light",), gate, errors, region)
    assert made.groups == ("light",)
    assert made.error == pytest.approx(errors[0].mean().item())
    assert len(made.regions[0.3]) == 2
    ((confidence, share, gains),) = made.regions[0.5]
    assert confidence == pytest.approx(0.9)
    assert share == 0.5
    expected = (errors[0, :4, :4] - errors[-1, :4, :4]).sum() / 64
    assert gains[-1] == pytest.approx(expected.item(), rel=1e-5)


def test_a_gate_that_is_open_everywhere_is_one_region():
    errors = torch.ones(len(STRENGTHS), 4, 4)
    made = calibrate.regions_of_image(True, (), torch.ones(1, 4, 4), errors, torch.zeros(1, 4, 4))
    assert [len(found) for found in made.regions.values()] == [1] * len(calibrate.THRESHOLDS)


def test_no_more_than_so_many_photos_of_a_folder_are_taken(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    assert card.limited(packed, 4).names == packed.names[:4]
    assert card.limited(packed, 4).images.shape[0] == 4


def test_errors_are_those_of_the_output_at_each_strength_in_levels(model):
    image, real = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    _, errors = calibrate.errors_by_strength(model, image, real, 32)
    assert errors.shape == (2, len(STRENGTHS), 32, 32)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=0.1)
    close(errors[:, 0], (255 * (image - real)).square().mean(1))
    with fast_precision("cpu"):
        masks = model.predict(image)
    changed = model.retoucher(image, masks)
    close(errors[:, -1], (255 * (changed - real)).square().mean(1))


def test_a_panel_shows_the_composites_that_were_scored(listed_photos, model):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    model.calibration = opmask.Calibration(0.0, (0.5,), (0.4,))
    (scene,) = scenes(packed, ())
    names = scene.names[-1], scene.names[0]
    rows = card.panel(model, packed, names, 32)
    for row, place in zip(rows, (-1, 0), strict=True):
        torch.testing.assert_close(row.images["composite"], scene.made.composite[place])
        torch.testing.assert_close(row.images["photo"], scene.made.real[place])


def interrupt(*arguments):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_card_holds_a_calibrated_model_tables_and_pictures(listed_photos, model, monkeypatch):
    root = listed_photos
    for split in card.SPLITS:
        pool.pack(pool.Pool(root, split, size=64), root / "small" / split)
    opmask.save(model, root / "run" / "model.safetensors")
    monkeypatch.setattr(card, "SHOWN", 2)
    options = ["--photos", str(root / "small"), "--out", str(root / "card"), "--size", "64"]
    monkeypatch.setattr(sys, "argv", ["card.py", str(root / "run"), *options])
    with monkeypatch.context() as interrupted:
        interrupted.setattr(card, "report", interrupt)
        with pytest.raises(KeyboardInterrupt):
            card.main()
    assert [path.name for path in (root / "card").iterdir()] == ["parts"]
    with monkeypatch.context() as resumed:
        resumed.setattr(card, "score_all", interrupt)  # is not called again
        card.main()
    assert not (root / "card" / "parts").exists()
    loaded = opmask.load(root / "card" / "small.safetensors")
    assert isinstance(loaded.calibration, opmask.Calibration)
    text = (root / "card" / "tables.md").read_text()
    for split in card.SPLITS:
        assert f"### At a glance: {split}" in text
        assert f"### {split}, light" in text
    assert text.count("| untouched auto | 3 |") == len(card.SPLITS)  # once, not for each kind
    compressed = text.split("### validation, compressed")[1]
    assert "| exact | 3 |" in compressed
    assert "untouched" not in compressed
    assert "### By source: auto" in (root / "card" / "sources.md").read_text()
    for name in "panel", "worst", "calibration":
        with Image.open(root / "card" / f"{name}.png") as picture:
            assert min(picture.size) > 200


@pytest.mark.slow
def test_every_score_is_in_a_file(listed_photos, model):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    packed = packed.subset(range(2))
    rows = [row for k in ("mixed", *KINDS) for row in card.score_all(model, packed, 32, k)]
    card.write_csv(listed_photos / "scores.csv", {"validation": rows})
    with (listed_photos / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    assert {line["kind"] for line in lines} == {"mixed", *KINDS}
    assert [float(line["after"]) for line in lines[:3]] == [row.after for row in rows[:3]]


def test_what_a_model_made_worst_is_not_what_rivals_did():
    row = Row("a.jpg", "exact", "light", 10.0, 20.0, 0.2, 50.0)
    others = row._replace(name="b.jpg", after=90.0, by="Reinhard"), row._replace(kind="light")
    assert card.worst([*others, row._replace(name="c.jpg", prompt="auto")]) == ["c.jpg"]

import pytest
import torch
from reproduction.small import pool, scoring
from reproduction.small.network import build
from skimage.color import rgb2lab

import opmask


@pytest.fixture
def packed(listed_photos):
    return pool.pack(pool.Pool(listed_photos, "validation", size=32), listed_photos / "packed")


def test_composites_are_as_light_as_what_was_changed_in_scikit_images_lab(packed):
    (scene,) = scoring.scenes(packed, (), "transfer")
    for place, traits in enumerate(scene.traits):
        lab = rgb2lab(scene.made.real[place].permute(1, 2, 0).numpy())
        inside = scene.made.region[place, 0].bool().numpy()
        assert traits == ("transfer", inside.mean(), pytest.approx(lab[inside, 0].mean(), abs=0.1))


def test_rows_say_the_kind_of_change_and_photos_are_scored_where_wanted(packed):
    model = build(8, "none").eval()
    rows = scoring.score(model, packed, ("exact",), kind="light", untouched=False)
    assert {(row.kind, row.prompt, row.by) for row in rows} == {("light", "exact", "model")}
    with_photos = scoring.score(model, packed, ("exact",), kind="light")
    assert with_photos[: len(packed)] == rows
    assert {row.prompt for row in with_photos[len(packed) :]} == {"untouched"}


def test_rows_hold_the_errors_of_both_images(packed):
    (scene,) = scoring.scenes(packed, ())
    black = torch.zeros_like(scene.made.real)
    rows = scoring.rows_of(scene, "exact", scene.made.real, black, "a rival")
    expected = (255 * scene.made.real).square().mean((1, 2, 3)).tolist()
    assert [row.before for row in rows] == [0.0] * len(packed)
    assert [row.after for row in rows] == pytest.approx(expected, rel=1e-5)


def test_the_model_in_the_box_stands_first(tmp_path):
    opmask.save(build(8, "none"), tmp_path / "other.safetensors")
    models = dict(scoring.with_the_box([tmp_path / "other.safetensors"]))
    assert list(models) == ["bundled", str(tmp_path / "other.safetensors")]
    assert models["bundled"].calibration is not None


@pytest.mark.parametrize("hint", ["exact", "boxes", "scribbles", "unknown"])
def test_outputs_are_those_of_harmonize(packed, hint):
    (scene,) = scoring.scenes(packed, (hint,))
    model = build(8, "none").eval()
    torch.nn.init.normal_(model.backbone.out.weight)
    # Off a half: at that rounding decides whether a pixel is joined to a stroke.
    torch.nn.init.constant_(model.backbone.out.bias, 0.5)
    model.calibration = opmask.Calibration(0.3, (0.5,), (0.6,), refines=True)
    image, prompt = scene.made.composite, scene.prompts[hint]
    told, strength = (None, 1.0) if hint == "unknown" else (prompt, "auto")
    expected = opmask.harmonize(model, image, region=told, strength=strength)
    made = scoring.retouch(model, image, prompt, 32, hint)
    torch.testing.assert_close(made[hint], expected, atol=0.03, rtol=0)
    if hint == "unknown":
        auto = opmask.harmonize(model, image)
        torch.testing.assert_close(made["auto"], auto, atol=0.03, rtol=0)

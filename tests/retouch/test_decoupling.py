import pytest
import torch
import torch.nn.functional as F

import opmask
from opmask.datasets import SyntheticScenes, read_image
from opmask.operators import Contrast, Exposure, Gamma, Saturation
from opmask.retouch import ambiguity


class Sharpen(opmask.Operator):
    """Looks at neighbours: adds what a blur takes away."""

    space = opmask.RGB
    ranges = {"sharpen": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        blurred = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), 5, 1)
        return image + mask * (image - blurred)


def image():
    return torch.rand(1, 3, 12, 14) * 0.8 + 0.1


def test_effects_are_the_jacobian_times_half_of_the_range():
    x = image()
    report = ambiguity(opmask.Retoucher(Contrast(pivot=0.3), Sharpen()), x)
    sharpened = 2 * Sharpen()(x, torch.ones(1, 1, 1, 1)).sub(x)
    expected = [(e.square().sum() / (12 * 14)).sqrt() for e in (x - 0.3, sharpened)]
    torch.testing.assert_close(report.effect, torch.stack(expected).double(), rtol=1e-4, atol=0)


def test_cosines_are_those_of_the_effects():
    x = image()
    report = ambiguity(opmask.Retoucher(Contrast(pivot=0.3), Sharpen()), x)
    effects = x - 0.3, Sharpen()(x, torch.ones(1, 1, 1, 1)) - x
    expected = F.cosine_similarity(*(e.flatten()[None] for e in effects)).item()
    assert report.cosine[0, 1].item() == pytest.approx(expected, abs=1e-4)
    assert report.cosine.diagonal().tolist() == pytest.approx([1, 1])


def test_twins_imitate_each_other_whole_and_lower_the_rank():
    retoucher = opmask.Retoucher(Exposure(), Saturation(), Exposure(prefix="second_"))
    report = ambiguity(retoucher, image())
    assert report.pairs[0] == ("exposure", "second_exposure", pytest.approx(1))
    assert report.rank == 2
    assert report.explained.tolist() == pytest.approx([1, report.explained[1].item(), 1], abs=1e-6)


def test_masks_that_touch_different_channels_are_decoupled():
    report = ambiguity(opmask.Retoucher(opmask.Mul(opmask.RGB)), image())
    assert report.score == pytest.approx(0, abs=1e-9)
    assert report.rank == 3
    assert report.pixel_rank == 3


def test_a_factor_and_a_shift_are_twins_at_a_pixel_but_not_over_an_image():
    retoucher = opmask.Retoucher(opmask.Mul(opmask.RGB), opmask.Add(opmask.RGB))
    report = ambiguity(retoucher, image())
    assert (report.rank, report.pixel_rank) == (6, 3)
    one_color = ambiguity(retoucher, image()[..., :1, :1].expand(1, 3, 5, 5))
    assert (one_color.rank, one_color.pixel_rank) == (3, 3)


def test_gates_and_saturation_of_greys_have_no_effect():
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    retoucher = opmask.Retoucher(opmask.Gated(Saturation(), Gamma()))
    report = ambiguity(retoucher, grey)
    assert report.without_effect == ("saturation", "gate")
    assert report.cosine.isfinite().all()
    assert report.explained.isfinite().all()
    assert "| gate | 0.0 |  | 0% | 0% |" in str(report)


def test_of_a_pair_the_weaker_mask_is_the_one_to_restrain():
    retoucher = opmask.Retoucher(
        Exposure(), Exposure(prefix="weak_", ranges={"exposure": opmask.MaskRange(0.0, -0.1, 0.1)})
    )
    report = ambiguity(retoucher, image())
    assert report.imitable() == ["weak_exposure"]
    assert ambiguity(opmask.Retoucher(opmask.Add(opmask.RGB)), image()).imitable() == []


def test_the_report_prints_as_a_table():
    lines = str(ambiguity(opmask.lab_retoucher(), image())).splitlines()
    assert lines[0] == "6 of 6 masks can be told apart as constants, 3.0 at a pixel."
    assert lines[1] == "| mask | effect, levels | closest | imitates it by | all others by |"
    assert lines[3].startswith("| l_mul | ")
    assert "| l_add | " in lines[3]


def test_masks_without_bounds_are_measured_per_unit():
    unbounded = opmask.Add(opmask.RGB, range=opmask.MaskRange(0.0))
    report = ambiguity(opmask.Retoucher(unbounded), image())
    assert report.effect.tolist() == pytest.approx([1, 1, 1])


def test_wrong_arguments_raise():
    with pytest.raises(TypeError, match="'image' must be floating point"):
        ambiguity(opmask.lab_retoucher(), torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\)"):
        ambiguity(opmask.lab_retoucher(), torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match=r"'tolerance' must be in \[0, 1\), got 1"):
        ambiguity(opmask.lab_retoucher(), image(), tolerance=1.0)
    with pytest.raises(ValueError, match="'image' must be finite"):
        ambiguity(opmask.lab_retoucher(), image() / 0)
    with pytest.raises(TypeError, match=r"must be an opmask\.Retoucher, got Mul\. Put operators"):
        ambiguity(opmask.Mul(opmask.RGB), image())


# --- the presets ---


def scores(images):
    presets = opmask.lab_retoucher(), opmask.hls_retoucher(), opmask.photo_retoucher()
    reports = [[ambiguity(preset, x[None] / 255).score for preset in presets] for x in images]
    return torch.tensor(reports)


def test_masks_of_a_photo_editor_are_less_ambiguous_than_those_of_lab_and_hls():
    lab, hls, photo = scores([p.image for p in SyntheticScenes(12, size=64)]).mean(0)
    assert photo < 0.95 * lab
    assert photo < 0.95 * hls


def test_masks_of_a_photo_editor_are_less_ambiguous_on_photographs(data_root):
    files = sorted((data_root / "scenes/images/training").glob("*.jpg"))[::20]
    found = scores([read_image(file)[:, ::4, ::4] for file in files])
    lab, hls, photo = found.mean(0)
    print(f"lab {lab:.3f}, hls {hls:.3f}, photo {photo:.3f} on {len(files)} photographs")
    assert photo < 0.85 * lab
    assert photo < 0.85 * hls
    assert (found[:, 2] < found[:, 0]).float().mean() > 0.6


def test_masks_of_a_photo_editor_share_three_conversions():
    retoucher = opmask.photo_retoucher()
    assert [stage.space.name for stage in retoucher.stages] == ["linear_rgb", "rgb", "lab"]
    assert retoucher.pixelwise

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from torch import nn

import opmask
from opmask import LAB, RGB, Add, Gated, Mul, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.backbones import SmallUNet
from opmask.inference import harmonize
from opmask.retouch.pixels import decode, to_stored
from opmask.wrapper.calibration import Calibration

HALF = 2**-11  # masks are rounded to half precision before they are first applied
TRUST = Calibration(0.5, confidence=(0.6, 0.9), strength=(0.25, 1.0))


class Toy(nn.Module):
    """Logits of a few constants, each times the last input channel (blue, or the region)."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits).view(-1, 1, 1))
        self.seen = torch.zeros(0)

    def forward(self, x):
        self.seen = x.detach().clone()
        return self.logits * x[:, -1:]


def shift(logit=1.0, **options):
    """A model that adds tanh(logit / 2) to red, where blue or the region is 1."""
    retoucher = Retoucher(Add(RGB, "r"))
    return OperatorMaskWrapper(Toy(logit), retoucher, head=OutputHead(), **options).eval()


def gated(logit, gate):
    """The same with a gate; its logit, too, is times blue or the region."""
    retoucher = Retoucher(Gated(Add(RGB, "r")))
    return OperatorMaskWrapper(Toy(logit, gate), retoucher, head=OutputHead())


def trained(retoucher=None, *, region=True):
    """A small U-Net that looks as if trained: its masks differ from place to place."""
    network = SmallUNet(4 if region else 3, width=8)
    model = OperatorMaskWrapper(network, retoucher, region=region)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    return model


def lab_gated():
    return Retoucher(Gated(Mul(LAB), Add(LAB)))


def blue(height=24, width=32):
    """Black with blue at 1, so that `Toy` gives its constants everywhere."""
    return torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, height, width).clone()


def to_pixels(image):
    """The colours of a batch of pictures."""
    return torch.cat([decode(one) for one in to_stored(image)])


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def red_of(model, image=None, **options):
    """How much red the model adds to `blue()`, at the centre."""
    output = harmonize(model, blue() if image is None else image, **options)
    return output[..., 0, output.shape[-2] // 2, output.shape[-1] // 2].tolist()


TANH = torch.tanh(torch.tensor(0.5)).item()  # what a logit of 1 adds

# --- kinds ---

KINDS = {
    "RGB": lambda a: Image.fromarray(a),
    "RGBA": lambda a: Image.fromarray(a).convert("RGBA"),
    "L": lambda a: Image.fromarray(a).convert("L"),
    "array": lambda a: a,
    "uint8": lambda a: torch.from_numpy(a).permute(2, 0, 1),
    "float": lambda a: torch.from_numpy(a).permute(2, 0, 1) / 255,
    "half": lambda a: (torch.from_numpy(a).permute(2, 0, 1) / 255).half(),
    "double": lambda a: torch.from_numpy(a).permute(2, 0, 1).double() / 255,
    "batch": lambda a: torch.from_numpy(a).permute(2, 0, 1).expand(2, -1, -1, -1) / 255,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate", [False, True])
def test_the_same_kind_comes_out_and_it_is_changed(kind, gate):
    image = KINDS[kind](noise(41, 53, 3).numpy())
    output = harmonize(trained(lab_gated() if gate else None), image, region=torch.ones(41, 53))
    same = "mode" if isinstance(image, Image.Image) else "dtype"
    assert getattr(output, same) == getattr(image, same)
    assert to_pixels(output).shape == to_pixels(image).shape
    assert (to_pixels(output) - to_pixels(image)).abs().max() > 0.02


def test_a_pil_image_becomes_a_photo_once(monkeypatch):
    calls, made = [], opmask.Photo.from_image
    monkeypatch.setattr(opmask.Photo, "from_image", lambda pil: calls.append(pil) or made(pil))
    harmonize(trained(), Image.new("RGB", (64, 48), "teal"))
    assert len(calls) == 1


def test_kinds_agree_with_each_other():
    model, array = trained(), noise(41, 53, 3).numpy()
    kinds = ["RGB", "array", "uint8", "float", "double", "batch"]
    outputs = [to_pixels(harmonize(model, KINDS[kind](array))).float()[:1] for kind in kinds]
    *others, batch = outputs[1:]
    for output in others:
        torch.testing.assert_close(output, outputs[0], rtol=0, atol=0.51 / 255)
    # A network rounds a batch otherwise, which moves a mask by a step of half precision at most.
    torch.testing.assert_close(batch, outputs[0], rtol=0, atol=2 / 255)


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (97, 131), (300, 40), (256, 260)])
@pytest.mark.parametrize("retoucher", [opmask.lab_retoucher, opmask.hls_retoucher, lab_gated])
def test_identity_masks_leave_every_8_bit_pixel_as_it_is(size, retoucher):
    model = OperatorMaskWrapper(SmallUNet(width=8), retoucher())
    image = noise(3, *size)
    assert torch.equal(harmonize(model, image), image)


def test_every_corner_of_the_colour_cube_survives_identity_masks():
    model = OperatorMaskWrapper(SmallUNet(width=8))
    levels = torch.tensor([0, 1, 2, 127, 128, 253, 254, 255], dtype=torch.uint8)
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 16, 32).contiguous()
    assert torch.equal(harmonize(model, image), image)


def test_strength_0_leaves_every_8_bit_pixel_as_it_is():
    image = noise(3, 60, 70)
    for retoucher in opmask.lab_retoucher(), lab_gated():
        assert torch.equal(harmonize(trained(retoucher), image, strength=0), image)


# --- sizes ---


@pytest.mark.parametrize(
    ("size", "work_size", "expected"),
    [
        ((300, 600), 256, (128, 256)),
        ((600, 300), 100, (100, 50)),
        ((40, 50), 256, (40, 50)),
        ((16, 400), 32, (16, 32)),
        ((90, 90), 16, (16, 16)),
    ],
)
def test_masks_are_predicted_at_the_working_size(size, work_size, expected):
    model = shift()
    harmonize(model, torch.rand(3, *size), work_size=work_size)
    assert model.backbone.seen.shape[-2:] == expected


def test_a_model_s_own_height_and_width_go_before_the_working_size():
    model = shift(size=(48, 48))
    harmonize(model, torch.rand(3, 64, 96), work_size=32)
    assert model.backbone.seen.shape[-2:] == (48, 48)


def test_the_working_size_goes_before_the_models_own():
    model = shift(size=32)
    harmonize(model, torch.rand(3, 80, 80), work_size=64)
    assert model.backbone.seen.shape[-2:] == (64, 64)


def test_the_default_working_size_is_256():
    model = shift()
    harmonize(model, torch.rand(3, 300, 300))
    assert model.backbone.seen.shape[-2:] == (256, 256)


def test_masks_are_enlarged_and_applied_to_the_photo_itself():
    model, image = trained(region=False), torch.rand(1, 3, 120, 160)
    output = harmonize(model, image, work_size=40)
    small = F.interpolate(image, (30, 40), mode="bilinear", antialias=True)
    masks = model.eval().predict(small)
    large = {
        n: F.interpolate(m.half().float(), (120, 160), mode="bilinear") for n, m in masks.items()
    }
    torch.testing.assert_close(output, model.retoucher(image, large))
    assert (output - image).abs().max() > 0.05


@pytest.mark.parametrize("size", [(15, 40), (40, 15)])
def test_a_photo_below_16_pixels_is_refused(size):
    message = f"'image' must be at least 16x16 pixels, got {size[0]}x{size[1]}."
    with pytest.raises(ValueError, match=message):
        harmonize(shift(), torch.rand(3, *size))


# --- strength ---


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 1, 1.5])
def test_strength_is_a_factor_on_the_change(strength):
    assert red_of(shift(), strength=strength) == pytest.approx(strength * TANH, abs=HALF)
    half_open = gated(1.0, 0.0)
    assert red_of(half_open, strength=strength) == pytest.approx(strength * TANH / 2, abs=HALF)


@pytest.mark.parametrize(("limit", "taken"), [(None, 2.0), (1.5, 1.5), (2.0, 2.0)])
def test_no_strength_is_larger_than_the_calibration_allows(limit, taken, recwarn):
    model = shift()
    model.calibration = replace(TRUST, limit=limit)
    assert red_of(model, strength=2) == pytest.approx(taken * TANH, abs=HALF)
    said = [str(w.message) for w in recwarn]
    assert len(said) == (taken < 2)
    assert all(text.startswith("1.5 is taken for a strength of 2: beyond it") for text in said)
    assert all(w.filename.endswith("tests/inference/test_plan.py") for w in recwarn)


def test_a_closed_gate_stays_closed_at_any_strength():
    for strength in 0.5, 1, 2:
        assert red_of(gated(1.0, -30.0), strength=strength) == pytest.approx(0, abs=HALF)


def test_the_gates_of_every_prefix_and_depth_stay_as_they_are():
    retoucher = Retoucher(Gated(Gated(Add(RGB, "r")), prefix="x_"))
    model = OperatorMaskWrapper(Toy(1.0, 30.0, 1.0), retoucher, head=OutputHead())
    outer, inner = torch.sigmoid(torch.tensor([1.0, 30.0])).tolist()  # they multiply
    expected = 0.5 * TANH * outer * inner
    assert red_of(model, strength=0.5) == pytest.approx(expected, abs=HALF)


def test_auto_without_a_calibration_is_1():
    assert red_of(shift()) == red_of(shift(), strength=1.0) == pytest.approx(TANH, abs=HALF)
    assert red_of(gated(1.0, 1.0)) == red_of(gated(1.0, 1.0), strength=1.0)


def test_auto_blind_is_what_the_calibration_says():
    model = gated(1.0, 1.0)  # a gate of sigmoid(1) = 0.731
    model.calibration = TRUST
    gate = torch.sigmoid(torch.tensor(1.0)).item()
    trust = 0.25 + 0.75 * (gate - 0.6) / 0.3
    assert red_of(model) == pytest.approx(trust * gate * TANH, abs=HALF)
    assert red_of(model, strength=1.0) == pytest.approx(gate * TANH, abs=HALF)


def test_auto_blind_changes_nothing_outside_the_regions_found():
    model, image = gated(1.0, 1.0), blue()
    model.calibration = TRUST
    image[2, :, 16:] = 0.3  # where blue is dark, the gate is sigmoid(0.3) = 0.574
    model.calibration = Calibration(0.6, (0.7,), (1.0,))
    output = harmonize(model, image)[0, 12]
    assert output[:14].min() > 0.3
    assert output[18:].max() == 0


def test_auto_is_1_where_a_region_is_given_and_where_no_mask_is_a_gate():
    retoucher = Retoucher(Gated(Add(RGB, "r")))
    model = OperatorMaskWrapper(Toy(1.0, 1.0), retoucher, head=OutputHead(), region=True)
    plain, ones = shift(), torch.ones(24, 32)
    model.calibration = plain.calibration = Calibration(0.5, (0.5,), (0.0,))
    assert red_of(model, region=ones) == red_of(model, region=ones, strength=1.0) > 0.3
    assert red_of(plain) == pytest.approx(TANH, abs=HALF)


def test_auto_trusts_regions_only_as_far_as_they_are_known():
    retoucher = Retoucher(Gated(Add(RGB, "r")))
    model = OperatorMaskWrapper(Toy(-1.0, -9.0), retoucher, head=OutputHead(), region=True)
    model.calibration = Calibration(0.5, (0.5,), (0.0,))
    assert red_of(model, region=torch.full((24, 32), -1.0)) == red_of(model) == 0
    known = torch.full((24, 32), -1.0)
    known[0, 0] = 0  # outside, at least here; what is inside has still to be found
    assert red_of(model, region=known) == 0
    known[4, 4] = 1
    assert red_of(model, region=known) == pytest.approx(TANH, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": "full"}, "'strength' must be 'auto' or a number, got 'full'."),
        ({"strength": -0.1}, "'strength' must be 'auto' or at least 0 and finite, got -0.1."),
        (
            {"strength": float("nan")},
            "'strength' must be 'auto' or at least 0 and finite, got nan",
        ),
        (
            {"strength": float("inf")},
            "'strength' must be 'auto' or at least 0 and finite, got inf",
        ),
        ({"strength": 10**400}, "'strength' must be 'auto' or at least 0 and finite, got 1000"),
        ({"strength": 1e7}, "got 10000000.0. The largest is 1,000,000."),
        ({"work_size": 15}, "'work_size' must be at least 16 pixels, got 15."),
        ({"work_size": 8193}, "'work_size' must be at most 8192 pixels, got 8193."),
        (
            {"region": 1},
            "'region' must be None for a blind model, one that was built without regi",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_image_is_looked_at(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        harmonize(shift(), "no image", **options)


@pytest.mark.parametrize("options", [{"strength": None}, {"work_size": 17.5}, {"work_size": "9"}])
def test_what_is_no_number_is_refused(options):
    with pytest.raises(TypeError, match=f"'{next(iter(options))}' must be a (whole )?number, got"):
        harmonize(shift(), "no image", **options)


def test_a_model_without_masks_is_refused():
    model = opmask.DirectRGB(SmallUNet(width=8), multiple_of=32)
    with pytest.raises(TypeError, match="'model' must be an OperatorMaskWrapper, got DirectRGB"):
        harmonize(model, blue())


# --- regions ---


def half(dtype=torch.float32):
    region = torch.zeros(24, 32)
    region[:, 16:] = 1
    return region.to(dtype)


REGIONS = {
    "float": half(),
    "double": half(torch.float64),
    "bool": half(torch.bool),
    "0 and 255": (half() * 255).byte(),
    "0 and 1": half(torch.uint8),
    "(1, H, W)": half()[None],
    "(1, 1, H, W)": half()[None, None],
    "array": half().numpy(),
    "array, bool": half().numpy() > 0,
    "array, 8 bits": (half() * 255).byte().numpy(),
    "array, turned around": half().flip(1).numpy()[:, ::-1],
    "L": Image.fromarray((half() * 255).byte().numpy()),
    "L of 0 and 1": Image.fromarray(half().byte().numpy()),
    "1": Image.fromarray(half().numpy() > 0),
    "0 and 128": (half() * 128).byte(),
    "array, 16 bits": (half() * 65535).numpy().astype(np.uint16),
    "I;16": Image.fromarray((half() * 65535).numpy().astype(np.uint16)),
    "RGB": Image.fromarray((half() * 255).byte().numpy()).convert("RGB"),
    "RGBA": Image.fromarray((half() * 255).byte().numpy()).convert("RGBA"),
    "P": Image.fromarray((half() * 255).byte().numpy()).convert("P"),
}


@pytest.mark.parametrize("kind", REGIONS)
def test_regions_of_every_kind_say_the_same(kind):
    model = shift(region=True)
    harmonize(model, blue(), region=REGIONS[kind])
    torch.testing.assert_close(model.backbone.seen[0, 3], half(), rtol=0, atol=0)


def test_no_region_is_unknown_everywhere():
    model = shift(region=True)
    harmonize(model, blue())
    assert (model.backbone.seen[:, 3] == -1).all()


def test_8_bits_are_soft():
    model = shift(region=True)
    levels = torch.full((24, 32), 51, dtype=torch.uint8)
    levels[0, 0], levels[0, 1] = 255, 0
    harmonize(model, blue(), region=levels)
    torch.testing.assert_close(model.backbone.seen[0, 3], levels / 255, rtol=0, atol=0)


def test_each_region_of_a_batch_is_understood_by_itself():
    model, batch = shift(region=True), blue().expand(2, -1, -1, -1)
    harmonize(model, batch, region=torch.stack([half() * 255, half()])[:, None].byte())
    torch.testing.assert_close(model.backbone.seen[:, 3], half().expand(2, 24, 32))


def test_each_image_of_a_batch_has_its_region_or_all_the_same():
    model, batch = shift(region=True), blue().expand(2, -1, -1, -1)
    both = torch.stack([half(), 1 - half()])[:, None]
    harmonize(model, batch, region=both)
    torch.testing.assert_close(model.backbone.seen[:, 3:], both)
    harmonize(model, batch, region=half())
    torch.testing.assert_close(model.backbone.seen[:, 3], half().expand(2, 24, 32))


@pytest.mark.parametrize(
    "size", [(24, 32), (12, 16), (48, 64), (10, 16), (22, 32), (26, 32), (50, 64)]
)
def test_a_region_of_the_same_aspect_ratio_is_resized(size):
    model = shift(region=True)
    region = torch.zeros(size)
    region[:, size[1] // 2 :] = 1
    harmonize(model, blue(), region=region)
    seen = model.backbone.seen[0, 3]
    assert seen.shape == (24, 32)
    torch.testing.assert_close(seen[:, :14], torch.zeros(24, 14))
    torch.testing.assert_close(seen[:, 18:], torch.ones(24, 14))


@pytest.mark.parametrize(
    "size", [(32, 24), (15, 16), (9, 16), (27, 32), (21, 32), (480, 590), (3, 3), (2, 4)]
)
def test_a_region_of_another_aspect_ratio_is_refused(size):
    message = (
        "'region' must have the aspect ratio of the photo, whose height and width are 24 and 32, "
        f"got {size[0]} and {size[1]}."
    )
    with pytest.raises(ValueError, match=message):
        harmonize(shift(region=True), blue(), region=torch.ones(size))


def test_the_region_of_an_edit_of_a_very_long_photo_can_be_given_in_turn():
    model, image, region = shift(region=True), torch.rand(3, 20, 400), torch.zeros(20, 400)
    region[:, :100] = 1
    edit = opmask.plan(model, image, region=region, work_size=100)
    assert edit.size == (16, 100)  # not 5: models take no less than 16
    again = opmask.plan(model, image, region=edit.region, work_size=100)
    assert torch.equal(again.region, edit.region)
    with pytest.raises(ValueError, match="aspect ratio"):
        opmask.plan(model, image, region=torch.zeros(20, 100), work_size=100)


def test_a_region_is_averaged_where_it_shrinks_so_that_little_ones_stay():
    model, region = shift(region=True), torch.zeros(64, 96)
    region[30, 50] = 1
    harmonize(model, torch.rand(3, 64, 96), region=region, work_size=24)
    seen = model.backbone.seen[0, 3]
    torch.testing.assert_close(seen, F.avg_pool2d(region[None], 4)[0])
    assert seen.max() == 1 / 16


def test_strokes_on_unknown_ground_keep_their_value_where_they_shrink():
    model, region = shift(region=True), torch.full((64, 96), -1.0)
    region[30, 50], region[10, 10], region[10, 11] = 1, 0, 0.5
    harmonize(model, torch.rand(3, 64, 96), region=region, work_size=24)
    seen = model.backbone.seen[0, 3]
    assert (seen[7, 12], seen[2, 2], (seen == -1).sum()) == (1, 0.25, 16 * 24 - 2)


def test_nothing_selected_leaves_the_image_as_it_is_to_the_last_bit():
    model = trained()
    for image in torch.rand(3, 40, 50), torch.rand(3, 40, 50).double(), noise(3, 40, 50):
        assert not torch.equal(harmonize(model, image, region=torch.ones(40, 50)), image)
        assert torch.equal(harmonize(model, image, region=torch.zeros(40, 50)), image)


def test_nothing_selected_in_one_image_of_a_batch_leaves_that_one_as_it_is():
    model, batch = trained(), torch.rand(2, 3, 40, 50)
    region = torch.zeros(2, 1, 40, 50)
    region[1, 0, 3, 5] = 0.5
    output = harmonize(model, batch, region=region)
    assert torch.equal(output[0], batch[0])
    assert not torch.equal(output[1], batch[1])


def test_the_orientation_of_a_region_is_applied_too():
    model = shift(region=True)
    picture = Image.fromarray((half() * 255).byte().numpy()).transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    harmonize(model, blue(), region=picture)
    torch.testing.assert_close(model.backbone.seen[0, 3], half())


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        (
            "mask.png",
            TypeError,
            "'region' must be a PIL image, a NumPy array or a tensor, got str.",
        ),
        (
            Image.fromarray(np.eye(3, dtype=np.uint8)[None] * 255).resize((32, 24)),
            ValueError,
            "'region' must be grey, white inside and black outside, or a cut-out with alpha, got",
        ),
        (
            torch.arange(3, dtype=torch.uint8).repeat(8, 1),
            ValueError,
            "'region' must be 0 and one other value, or soft with 255 for inside, got several",
        ),
        (torch.zeros(2, 24, 32), ValueError, "must have shape (H, W), (1, H, W) or (B, 1, H, W),"),
        (torch.zeros(1, 3, 24, 32), ValueError, "must have shape (H, W), (1, H, W) or (B, 1, H,"),
        (torch.zeros(1, 1, 1, 24, 32), ValueError, "must have shape (H, W), (1, H, W) or (B, 1,"),
        (
            torch.zeros(24),
            ValueError,
            "must have shape (H, W), (1, H, W) or (B, 1, H, W), got (24",
        ),
        (torch.zeros(0, 32), ValueError, "must have shape (H, W), (1, H, W) or (B, 1, H, W), got"),
        (torch.ones(24, 32).long(), TypeError, "must be bool, uint8, uint16 or floating point,"),
        (torch.full((24, 32), 1.1), ValueError, "'region' must lie in [0, 1] or be -1, unknown,"),
        (torch.full((24, 32), -0.5), ValueError, "'region' must lie in [0, 1] or be -1, unknown,"),
        (
            torch.full((24, 32), torch.nan),
            ValueError,
            "'region' must lie in [0, 1] or be -1, unkn",
        ),
        (torch.ones(2, 1, 24, 32), ValueError, "'region' must be one or as many as the 1 images,"),
    ],
)
def test_what_is_no_region_is_refused(region, error, message):
    with pytest.raises(error, match=re.escape(message)):
        harmonize(shift(region=True), blue(), region=region)


# --- files ---


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_photo_comes_back_upright_without_the_tag_and_with_the_others(orientation, tmp_path):
    picture, exif = Image.fromarray(noise(40, 60, 3).numpy()), Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Maker"
    picture.save(tmp_path / "a.png", exif=exif, icc_profile=b"profile")
    with Image.open(tmp_path / "a.png") as stored:
        output = harmonize(OperatorMaskWrapper(SmallUNet(width=8)), stored)
    assert output.size == ((40, 60) if orientation > 4 else (60, 40))
    assert dict(output.getexif()) == {ExifTags.Base.Make: "Maker"}
    assert output.info["icc_profile"] == b"profile"


# --- the model ---


def test_training_flags_stay_as_they_were_and_no_gradient_is_kept():
    model = trained().train()
    model.backbone.stem.eval()
    flags = [module.training for module in model.modules()]
    image = torch.rand(3, 40, 50, requires_grad=True)
    assert not harmonize(model, image).requires_grad
    assert [module.training for module in model.modules()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_model_runs_in_evaluation_mode():
    model, image = trained(), torch.rand(3, 40, 50)
    statistics = {name: b.clone() for name, b in model.named_buffers()}
    outputs = [harmonize(model.train(), image), harmonize(model.eval(), image)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert all(torch.equal(b, statistics[name]) for name, b in model.named_buffers())


def test_what_was_handed_in_is_not_changed():
    image, region = torch.rand(2, 3, 40, 50), torch.rand(40, 50)
    copies = image.clone(), region.clone()
    harmonize(trained(), image, region=region, strength=0.5)
    assert torch.equal(image, copies[0])
    assert torch.equal(region, copies[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_precision_works(dtype):
    model, image = trained(), torch.rand(3, 40, 50)
    expected = harmonize(model, image, region=torch.ones(40, 50))
    output = harmonize(model.to(dtype), image, region=torch.ones(40, 50))
    assert output.dtype == torch.float32
    assert (output - expected).abs().mean() < 0.05


@pytest.mark.gpu
def test_the_model_runs_where_it_is_and_the_image_comes_back():
    model, image, region = trained(lab_gated()), noise(3, 40, 50), torch.ones(40, 50)
    model.calibration = TRUST
    expected = [harmonize(model, image), harmonize(model, image, region=region)]
    model.cuda()
    for output, wanted in zip(
        [harmonize(model, image), harmonize(model, image, region=region)], expected, strict=True
    ):
        assert output.device.type == "cpu"
        assert (output.int() - wanted.int()).abs().float().mean() < 0.5
    assert harmonize(model, image.cuda()).is_cuda


def test_weights_that_overflowed_in_half_precision_are_refused():
    model = opmask.OperatorMaskWrapper(SmallUNet(width=8)).eval()
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_var.fill_(1e6)
    with pytest.raises(ValueError, match=r"'model' must have finite weights, .*bfloat16"):
        harmonize(model.half(), torch.rand(3, 32, 32))

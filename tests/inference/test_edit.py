import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from torch import nn

import opmask
from opmask import (
    RGB,
    Edit,
    MaskRange,
    Mul,
    Operator,
    OperatorMaskWrapper,
    Photo,
    Retoucher,
    harmonize,
    plan,
)
from opmask.backbones import SmallUNet
from opmask.inference import Source


@pytest.fixture
def edit(gated_model, photo):
    return plan(gated_model, photo, work_size=64)


def test_harmonize_is_plan_and_render_to_the_bit(gated_model, photo, edit):
    assert torch.equal(harmonize(gated_model, photo, work_size=64), edit.render(photo))
    assert not torch.equal(edit.render(photo), photo)


def test_each_image_of_a_batch_has_an_edit_of_its_own(gated_model):
    batch = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8)
    edits = plan(gated_model, batch)
    for edit, image in zip(edits, batch, strict=True):
        assert torch.equal(edit.render(image), plan(gated_model, image).render(image))
    assert torch.equal(harmonize(gated_model, batch)[1], edits[1].render(batch[1]))


def test_masks_are_in_half_precision_before_they_are_first_applied(edit):
    assert all(mask.dtype == torch.float16 for mask in edit.predicted.values())
    assert all(mask.shape == (1, 1, 38, 64) for mask in edit.masks().values())
    assert edit.size == (38, 64)


class Gamma(Operator):
    """A factor whose identity half precision rounds."""

    space = RGB
    ranges = {"gamma": MaskRange(2.2, low=0.2, high=5.0)}
    pixelwise = True

    def forward(self, image, mask):
        return image * 2.2 / mask


def test_identities_that_half_precision_rounds_still_change_nothing(photo):
    model = OperatorMaskWrapper(SmallUNet(4, width=8), Retoucher(Gamma()), region=True).eval()
    image, region = photo / 255, torch.zeros(120, 200)
    assert torch.equal(harmonize(model, image), image)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    region[40:80, 60:120] = 1
    changed = (harmonize(model, image, region=region) != image).any(0)
    assert changed[50:70, 70:110].any()
    assert not (changed & (region == 0))[:30].any()


def test_masks_that_half_precision_cannot_hold_are_refused(photo):
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Mul(RGB, range=MaskRange(1.0))))
    nn.init.constant_(model.head.layer.bias, 1e6)
    with pytest.raises(ValueError, match="'model' must predict masks that half"):
        plan(model.eval(), photo)


# --- which photo ---


def kinds(array):
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    return Image.fromarray(array), array, tensor, tensor[None]


def test_a_photo_is_known_whatever_kind_it_comes_in(gated_model, photo):
    array = photo.permute(1, 2, 0).contiguous().numpy()
    edit = plan(gated_model, array)
    results = [np.asarray(edit.render(image)).ravel() for image in kinds(array)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[2], results[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_of_every_type_is_known_again(gated_model, dtype):
    array = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(dtype)
    array = array / dtype(255) if dtype == np.float32 else array
    edit = plan(gated_model, array)
    kinds = [array] if dtype == np.float32 else [array, Image.fromarray(array)]
    for image in [*kinds, array[..., None]]:
        assert np.array_equal(np.asarray(edit.render(image)).reshape(40, 60), edit.render(array))
    photo = Photo(array[..., None])
    assert np.array_equal(edit.render(photo).pixels[..., 0], edit.render(array))


def test_a_photo_that_is_stored_turned_is_known_upright(gated_model, photo):
    upright = Image.fromarray(photo.permute(1, 2, 0).contiguous().numpy())
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[ExifTags.Base.Orientation] = 6
    assert plan(gated_model, upright).render(turned) == harmonize(gated_model, upright)


def test_another_photo_is_refused_unless_forced(edit, photo):
    other = photo.clone()
    other[0, 5, 5] ^= 1
    with pytest.raises(ValueError, match="the photo that the edit was planned for, of 200"):
        edit.render(other)
    assert (edit.render(other, force=True) != edit.render(photo)).sum() < 4


@pytest.mark.parametrize("scale", [0.5, 2])
def test_resized_copies_are_rendered_alike(gated_model, scale):
    smooth = F.interpolate(torch.rand(1, 3, 9, 12), (144, 192), mode="bicubic").clamp(0, 1)
    edit = plan(gated_model, smooth[0], work_size=32)
    size = round(144 * scale), round(192 * scale)

    def resized(image):
        return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]

    large = edit.render(resized(smooth[0]), force=True)
    error = (large - resized(edit.render(smooth[0]))).square().mean()
    assert -10 * error.log10() > 40


def test_several_images_at_once_are_refused(edit, photo):
    with pytest.raises(ValueError, match="'image' must hold one image, got 2"):
        edit.render(torch.stack([photo, photo]))


def test_the_checksum_is_that_of_size_type_and_levels():
    stored = torch.zeros(4, 6, 3, dtype=torch.uint8)
    turned = stored.view(6, 4, 3)
    assert len({Source.of(x).sha256 for x in (stored, turned, stored.float(), stored + 1)}) == 4


# --- adjusting ---


def test_an_adjustment_is_that_of_the_retoucher(edit):
    adjusted = edit.adjust("l_add", strength=0.5, offset=0.1).masks()
    wanted = edit.retoucher.edit(edit.masks(), "l_add", strength=0.5, offset=0.1)
    assert all(torch.equal(adjusted[name], wanted[name]) for name in wanted)


def test_strength_0_leaves_the_photo_and_2_goes_twice_as_far(edit, photo):
    assert torch.equal(edit.adjust(strength=0).render(photo), photo)
    doubled, once = edit.adjust("a_add", strength=2).masks(), edit.masks()
    torch.testing.assert_close(doubled["a_add"], (2 * once["a_add"]).clamp(-1, 1))


def test_a_region_confines_an_adjustment(edit, photo):
    region = torch.zeros(120, 200)
    region[:, 100:] = 1
    brighter = edit.adjust("l_add", offset=0.2, region=region)
    same = brighter.render(photo) == edit.render(photo)
    assert same[..., :96].all()
    assert not same[..., 104:].all()


def test_edits_are_not_changed_in_place_and_adjustments_are_undone_in_order(edit):
    first = edit.adjust("l_add", offset=0.1)
    second = first.adjust(strength=0.5)
    assert (len(edit.adjustments), len(second.adjustments)) == (0, 2)
    assert second.undo().adjustments == first.adjustments
    with pytest.raises(ValueError, match="no adjustment to undo"):
        edit.undo()
    with pytest.raises(dataclasses.FrozenInstanceError):
        edit.adjustments = ()


def test_the_strength_of_a_plan_can_be_undone(gated_model, photo):
    weak = plan(gated_model, photo, strength=0.25)
    assert torch.equal(weak.undo().render(photo), harmonize(gated_model, photo, strength=1))
    assert not plan(gated_model, photo, strength=1).adjustments


def test_what_a_calibration_does_not_trust_is_an_adjustment_too(gated_model, photo):
    gated_model.calibration = opmask.Calibration(0.2, (0.5,), (0.3,))
    edit = plan(gated_model, photo)
    (doubt,) = edit.adjustments
    gate = edit.predicted["gate"].float()
    wanted = 1 - gated_model.calibration.strengths(gate)
    torch.testing.assert_close(doubt.region.float(), wanted, rtol=0, atol=1e-3)
    assert torch.equal(edit.render(photo), harmonize(gated_model, photo))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "x_add"}, KeyError, "no mask named 'x_add'; this edit has"),
        ({"strength": float("nan")}, ValueError, "'strength' must be finite, got nan"),
        ({"offset": float("inf")}, ValueError, "'offset' must be finite, got inf"),
        ({"strength": 10**400}, ValueError, "'strength' must be finite, got 1000"),
        ({"offset": -1e7}, ValueError, "'offset' must be finite, got -10000000.0. The largest is"),
        ({"strength": "1"}, TypeError, "'strength' must be a number, got str"),
        ({"region": torch.full((120, 200), -1.0)}, ValueError, "'region' must lie in"),
        ({"region": torch.zeros(7, 200)}, ValueError, "'region' must have the aspect ratio"),
        ({"region": "all"}, TypeError, "'region' must be a PIL image"),
    ],
)
def test_adjustments_that_make_no_sense_are_refused(edit, arguments, error, message):
    with pytest.raises(error, match=message):
        edit.adjust(**arguments)


# --- masks ---


def test_effective_masks_have_their_gate_multiplied_in(edit):
    raw, effective = edit.masks(), edit.masks(effective=True)
    assert effective.keys() == raw.keys() - {"gate"}
    torch.testing.assert_close(effective["l_mul"], 1 + raw["gate"] * (raw["l_mul"] - 1))
    torch.testing.assert_close(effective["b_add"], raw["gate"] * raw["b_add"])


def test_effective_masks_without_the_gate_do_the_same(edit, photo):
    plain = opmask.Retoucher(opmask.Mul(opmask.LAB), opmask.Add(opmask.LAB))
    image = F.interpolate(photo[None] / 255, edit.size)
    wanted = edit.retoucher(image, edit.masks())
    torch.testing.assert_close(plain(image, edit.masks(effective=True)), wanted)


def test_gates_in_gates_are_multiplied():
    retoucher = opmask.Retoucher(
        opmask.Gated(opmask.Gated(opmask.Add(opmask.RGB, "r")), prefix="x_")
    )
    half = torch.full((1, 1, 2, 2), 0.5)
    effective = retoucher.effective({"r_add": half, "gate": half, "x_gate": half})
    image = torch.zeros(1, 3, 2, 2)
    output = retoucher(image, {"r_add": half, "gate": half, "x_gate": half})
    assert [*effective] == ["r_add"]
    torch.testing.assert_close(effective["r_add"], output[:, :1])


# --- regions ---


def test_only_the_region_and_its_soft_edge_are_changed(gated_model, photo):
    region = torch.zeros(120, 200)
    region[40:80, 60:120] = 1
    changed = (harmonize(gated_model, photo, region=region) != photo).any(0)
    assert changed[44:76, 64:116].any()
    far = F.max_pool2d(region[None], 17, stride=1, padding=8)[0] == 0
    assert not changed[far].any()


def test_what_is_unknown_may_be_changed(gated_model, photo):
    unknown = torch.full((120, 200), -1.0)
    assert torch.equal(
        harmonize(gated_model, photo, region=unknown), harmonize(gated_model, photo)
    )
    assert isinstance(plan(gated_model, photo, region=unknown), Edit)


# --- what adjusting warns of ---


def shut(edit):
    """The edit with a gate that is open on the left alone."""
    gate = torch.zeros_like(edit.predicted["gate"])
    gate[..., : gate.shape[-1] // 2] = 1
    return dataclasses.replace(edit, predicted={**edit.predicted, "gate": gate})


def test_an_offset_where_the_gate_is_shut_is_warned_of_until_it_is_opened(edit, photo):
    half = torch.zeros(photo.shape[1:])
    half[:, 120:] = 1
    document = shut(edit)
    with pytest.warns(UserWarning, match="'l_add' has no effect there"):
        same = document.adjust("l_add", offset=0.2, region=half)
    assert torch.equal(same.render(photo), document.render(photo))
    opened = document.adjust("gate", offset=1.0, region=half)
    lighter = opened.adjust(
        "l_add", offset=0.2, region=half
    )  # no warning, which would be an error
    assert not torch.equal(lighter.render(photo), opened.render(photo))
    document.adjust("l_add", offset=0.2, region=1 - half)
    document.adjust("l_add", offset=0.2)
    document.adjust("gate", offset=0.2, region=half)
    document.adjust("l_add", strength=0.5, region=half)
    document.adjust("l_add", offset=0.2, region=torch.zeros_like(half))


def test_an_offset_beyond_the_range_of_its_mask_is_refused(edit):
    with pytest.raises(ValueError, match="at most 2, as 'l_add' goes from -1 to 1, got -5"):
        edit.adjust("l_add", offset=-5)
    edit.adjust("l_add", offset=-2)


def test_masks_that_are_stretched_to_another_aspect_ratio_are_warned_of(edit):
    with pytest.warns(UserWarning, match="100 by 200 pixels .* 200 by 120: its masks are stret"):
        edit.render(torch.zeros(3, 200, 100, dtype=torch.uint8), force=True)
    edit.render(torch.zeros(3, 60, 100, dtype=torch.uint8), force=True)


def test_an_edit_is_described_in_a_line(edit):
    text = repr(edit.adjust("l_add", offset=0.1))
    assert text == (
        "Edit(photo of 200 by 120 pixels; masks l_mul, a_mul, b_mul, l_add, a_add, b_add, gate of "
        "64 by 38; 1 adjustments)"
    )

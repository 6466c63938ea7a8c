import colorsys
import copy
import math
import pickle

import cv2
import numpy as np
import pytest
import torch

import opmask
from opmask import HLS, LAB, LINEAR_RGB, RGB, Add, Gated, MaskRange, Mul, Retoucher
from opmask.backbones import SmallUNet
from opmask.color import HLS_CLAMPED
from opmask.retouch import paper_hls_retoucher, paper_lab_retoucher
from opmask.retouch.retoucher import saturate

PRESETS = [
    opmask.lab_retoucher,
    opmask.hls_retoucher,
    paper_hls_retoucher,
    paper_lab_retoucher,
]
CODES = np.array([180.0, 255.0, 255.0])  # the largest 8-bit codes of H, L and S in OpenCV


def random_masks(retoucher: Retoucher, image: torch.Tensor) -> dict[str, torch.Tensor]:
    return retoucher.from_logits(torch.randn(len(image), len(retoucher.ranges), *image.shape[-2:]))


@pytest.mark.parametrize("preset", PRESETS)
def test_identity_masks_return_the_input(preset):
    image = torch.rand(2, 3, 16, 18)
    output = preset()(image, preset().identity(image))
    torch.testing.assert_close(output, image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_of_zero_are_the_identity_masks(preset):
    retoucher, image = preset(), torch.rand(2, 3, 16, 18)
    masks = retoucher.from_logits(torch.zeros(2, len(retoucher.ranges), 16, 18))
    for name, mask in retoucher.identity(image).items():
        torch.testing.assert_close(masks[name], mask)


def test_the_presets_have_the_names_of_the_paper_in_its_order():
    assert list(opmask.lab_retoucher().ranges) == [
        "l_mul",
        "a_mul",
        "b_mul",
        "l_add",
        "a_add",
        "b_add",
    ]
    assert list(opmask.hls_retoucher().ranges) == ["l_mul", "s_mul", "l_add", "s_add", "h_add"]
    assert opmask.hls_retoucher().ranges["h_add"] == MaskRange(0.0, low=-0.5, high=0.5)


def test_the_paper_multiplies_then_adds_in_lab():
    image, retoucher = torch.rand(1, 3, 4, 4) * 0.3 + 0.3, opmask.lab_retoucher()
    masks = {
        name: torch.full((1, 1, 4, 4), 0.9 if "mul" in name else 0.01) for name in retoucher.ranges
    }
    expected = LAB.to_rgb(LAB.from_rgb(image) * 0.9 + 0.01)
    torch.testing.assert_close(retoucher(image, masks), expected)


def paper_hls_masks(numbers: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Factors and shifts at the paper's order of magnitude, one for each channel and pixel."""
    names = list(paper_hls_retoucher().ranges)
    draws = numbers.uniform(0.6, 1.5, (3, size)), numbers.uniform(-0.4, 0.4, (3, size))
    return dict(zip(names, np.concatenate(draws), strict=True))


def retouched(pixels: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """The paper's HLS retoucher on N colours, RGB in [0, 1], with shape (N, 3)."""
    image = torch.from_numpy(pixels.T[None, :, None, :])
    maps = {name: torch.from_numpy(mask[None, None, None, :]) for name, mask in masks.items()}
    return paper_hls_retoucher()(image, maps)[0, :, 0].T.numpy()


def test_the_papers_hls_formula_holds_color_by_color():
    """A plain loop over exact codes of OpenCV's 8-bit scale, with the standard library's HLS."""
    numbers = np.random.default_rng(0)
    codes, masks = numbers.integers(0, CODES + 1, (300, 3)), paper_hls_masks(numbers, 300)
    expected, clamped = [], 0
    for i, code in enumerate(codes / CODES):
        y = [
            x * masks[f"{c}_mul"][i] + masks[f"{c}_add"][i]
            for c, x in zip("hls", code, strict=True)
        ]
        clamped += not 0 <= y[0] <= 1
        expected.append(colorsys.hls_to_rgb(*(min(max(v, 0.0), 1.0) for v in y)))
    # Hue 180 is hue 0: start from a color whose hue is the smaller one.
    keep = codes[:, 0] < 180
    pixels = np.array([colorsys.hls_to_rgb(*code) for code in codes / CODES])
    # A grey has no hue of its own, so only colors with one can be compared.
    keep &= np.ptp(pixels, axis=1) > 0
    assert clamped > 30
    np.testing.assert_allclose(retouched(pixels, masks)[keep], np.array(expected)[keep], atol=1e-9)


def test_the_papers_hls_chain_on_8_bit_images_agrees_to_within_rounding():
    """OpenCV's 8-bit HLS in and out with the scale (180, 255, 255), as in the published code."""
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (1, 2000, 3), dtype=np.uint8)
    masks = paper_hls_masks(numbers, 2000)
    mul, add = (np.stack([masks[f"{c}_{op}"] for c in "hls"], -1) for op in ("mul", "add"))
    x = cv2.cvtColor(pixels, cv2.COLOR_RGB2HLS) / CODES
    codes = np.rint((x * mul + add).clip(0, 1) * CODES).astype(np.uint8)
    theirs = cv2.cvtColor(codes, cv2.COLOR_HLS2RGB)[0]
    error = np.abs(255 * retouched(pixels[0] / 255, masks) - theirs)
    # A code of hue is 2 degrees, 8.5 levels of a full colour: half of it in, half of it out.
    assert error.mean() < 1.5
    assert np.quantile(error, 0.99) < 8.5


def test_the_papers_hls_masks_have_its_ranges():
    ranges = paper_hls_retoucher().ranges
    assert list(ranges) == ["h_mul", "l_mul", "s_mul", "h_add", "l_add", "s_add"]
    assert [ranges[f"{c}_mul"] for c in "hls"] == [MaskRange(1.0, low=0.0, high=math.inf)] * 3
    z = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(ranges["h_add"].from_logits(2 * z), torch.tanh(z))
    torch.testing.assert_close(ranges["h_mul"].from_logits(z), torch.relu(1 + z))


def test_the_papers_hls_masks_share_one_conversion():
    assert [stage.space for stage in paper_hls_retoucher().stages] == [HLS_CLAMPED]


def test_the_papers_hls_set_without_factors_shifts_and_clamps():
    image, retoucher = torch.rand(1, 3, 4, 4), Retoucher(Add(HLS_CLAMPED))
    masks = retoucher.edit(retoucher.identity(image), "h_add", offset=0.9)
    x = HLS.from_rgb(image)
    x[:, 0] = (x[:, 0] + 0.9).clamp(max=1)
    torch.testing.assert_close(retoucher(image, masks), HLS.to_rgb(x))


def test_a_model_in_the_papers_hls_is_saved_and_loaded(tmp_path):
    model = opmask.OperatorMaskWrapper(SmallUNet(width=8), paper_hls_retoucher()).eval()
    torch.nn.init.normal_(model.head.layer.weight)
    opmask.save(model, tmp_path / "model.safetensors")
    loaded, image = opmask.load(tmp_path / "model.safetensors").eval(), torch.rand(1, 3, 64, 64)
    assert [op.space for op in loaded.retoucher.operators] == [HLS_CLAMPED] * 2
    assert torch.equal(loaded(image).image, model(image).image)


def test_each_logit_channel_is_one_mask_in_order():
    logits = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 4)
    retoucher = Retoucher(Mul(LAB, range=MaskRange(1.0)), Add(LAB, range=MaskRange(0.0)))
    values = [mask.unique().tolist() for mask in retoucher.from_logits(logits).values()]
    assert values == [[1], [2], [3], [3], [4], [5]]


def test_consecutive_operators_of_one_space_share_a_stage():
    retoucher = Retoucher(Mul(LAB), Add(LAB, "l"), Add(HLS, "s"), Add(LAB, "a"))
    assert [stage.space.name for stage in retoucher.stages] == ["lab", "hls", "lab"]
    assert [len(stage.operators) for stage in retoucher.stages] == [2, 1, 1]


def test_spaces_are_compared_by_value_after_a_deepcopy():
    add = copy.deepcopy(Add(LAB))
    assert len(Retoucher(Mul(LAB), add).stages) == 1


def test_nothing_is_clipped_between_stages():
    image = torch.full((1, 3, 2, 2), 0.8)
    retoucher = Retoucher(
        Add(RGB), Add(LINEAR_RGB, "r", prefix="x_"), Mul(RGB, range=MaskRange(1.0))
    )
    masks = retoucher.identity(image)
    masks = {n: m + (0.6 if n in ("r_add", "g_add", "b_add") else 0) for n, m in masks.items()}
    masks = {n: m * (0.5 if n.endswith("mul") else 1) for n, m in masks.items()}
    torch.testing.assert_close(retoucher(image, masks), torch.full_like(image, 0.7))


def test_the_result_is_clamped_to_zero_and_one():
    image, retoucher = torch.rand(1, 3, 8, 8), Retoucher(Add(RGB, "r", "g"))
    masks = {"r_add": torch.ones(1, 1, 8, 8), "g_add": -torch.ones(1, 1, 8, 8)}
    output = retoucher(image, masks)
    assert output[:, 0].tolist() == torch.ones(1, 8, 8).tolist()
    assert output[:, 1].tolist() == torch.zeros(1, 8, 8).tolist()


def test_the_clamp_lets_gradients_through():
    image, retoucher = torch.ones(1, 3, 2, 2), Retoucher(Add(RGB))
    mask = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    retoucher(image, {"r_add": mask, "g_add": mask, "b_add": mask}).sum().backward()
    torch.testing.assert_close(mask.grad, torch.full((1, 1, 2, 2), 3.0))


def test_autocast_does_not_touch_the_arithmetic():
    image, retoucher = torch.rand(1, 3, 16, 16), opmask.lab_retoucher()
    masks = random_masks(retoucher, image)
    with torch.autocast("cpu", torch.bfloat16):
        output = retoucher(image, masks)
    assert torch.equal(output, retoucher(image, masks))


def test_half_precision_inputs_are_retouched_in_float32():
    image, retoucher = torch.rand(1, 3, 16, 16).half(), opmask.lab_retoucher()
    output = retoucher(image, retoucher.identity(image))
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, image.float(), rtol=0, atol=1e-5)


def test_float64_is_kept_and_the_gradients_are_right():
    image = torch.rand(1, 3, 2, 2, dtype=torch.float64) * 0.4 + 0.3
    retoucher = opmask.lab_retoucher()
    small = [
        torch.full((1, 1, 2, 2), r.identity + 0.02).double() for r in retoucher.ranges.values()
    ]
    inputs = [tensor.requires_grad_() for tensor in (image, *small)]

    def function(image: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
        return retoucher(image, dict(zip(retoucher.ranges, masks, strict=True)))

    assert function(*inputs).dtype == torch.float64
    assert torch.autograd.gradcheck(function, inputs)


def test_masks_may_be_constant_over_image_or_batch():
    image, retoucher = torch.rand(2, 3, 4, 5), opmask.lab_retoucher()
    full = {n: m + 0.05 for n, m in retoucher.identity(image).items()}
    small = {n: m[:1, :, :1, :1] for n, m in full.items()}
    torch.testing.assert_close(retoucher(image, small), retoucher(image, full))


def test_the_inputs_are_left_alone():
    image, retoucher = torch.rand(1, 3, 4, 4), opmask.lab_retoucher()
    masks = random_masks(retoucher, image)
    before = image.clone(), {n: m.clone() for n, m in masks.items()}
    retoucher(image, masks)
    retoucher.edit(masks, strength=0.0)
    assert torch.equal(image, before[0])
    assert all(torch.equal(masks[n], before[1][n]) for n in masks)


def test_an_edit_without_settings_changes_nothing():
    image, retoucher = torch.rand(1, 3, 4, 4), opmask.lab_retoucher()
    masks = random_masks(retoucher, image)
    torch.testing.assert_close(retoucher.edit(masks), masks)


def test_strength_zero_switches_one_operator_off():
    image, retoucher = torch.rand(1, 3, 4, 4), opmask.lab_retoucher()
    masks = random_masks(retoucher, image)
    edited = retoucher.edit(masks, "b_add", strength=0)
    assert edited["b_add"].tolist() == torch.zeros(1, 1, 4, 4).tolist()
    assert all(edited[n] is masks[n] for n in masks if n != "b_add")


def test_without_a_name_all_masks_are_edited():
    image, retoucher = torch.rand(1, 3, 4, 4), opmask.lab_retoucher()
    edited = retoucher.edit(random_masks(retoucher, image), strength=0)
    torch.testing.assert_close(edited, retoucher.identity(image))


def test_a_region_blends_edited_and_predicted():
    image, retoucher = torch.rand(1, 3, 1, 3), opmask.lab_retoucher()
    region = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    edited = retoucher.edit(retoucher.identity(image), "l_add", offset=0.4, region=region)
    torch.testing.assert_close(edited["l_add"].flatten(), torch.tensor([0.0, 0.1, 0.4]))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("argument", ["strength", "offset"])
def test_masks_are_edited_by_finite_numbers_only(argument, number):
    retoucher = opmask.lab_retoucher()
    masks = retoucher.identity(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match=f"finite numbers, got .*{number}"):
        retoucher.edit(masks, **{argument: number})


def test_colours_far_out_of_gamut_are_saturated_exactly():
    image = torch.tensor([-1e30, -3.7, 0.3, 5.9, 1e9, 1e30], requires_grad=True)
    result = saturate(image)
    assert result.tolist() == image.clamp(0, 1).tolist()
    result.sum().backward()
    assert image.grad.tolist() == [1.0] * 6


def test_an_unknown_name_raises_a_key_error():
    retoucher = opmask.lab_retoucher()
    masks = retoucher.identity(torch.rand(1, 3, 4, 4))
    with pytest.raises(KeyError, match=r"no mask named 'hue'; this retoucher has \['l_mul'"):
        retoucher.edit(masks, "hue")
    with pytest.raises(KeyError, match="no mask named 'h_add'"):
        retoucher.edit({"h_add": masks["l_add"]})
    with pytest.raises(KeyError, match="no mask named 'l_add'"):
        retoucher.edit({"a_add": masks["a_add"]}, "l_add")


def test_missing_and_unknown_masks_raise_a_key_error():
    retoucher, image = opmask.lab_retoucher(), torch.rand(1, 3, 4, 4)
    masks = retoucher.identity(image)
    with pytest.raises(KeyError, match="'masks' must have exactly the keys"):
        retoucher(image, {n: m for n, m in masks.items() if n != "l_mul"})
    with pytest.raises(KeyError, match="'masks' must have exactly the keys"):
        retoucher(image, {**masks, "extra": masks["l_mul"]})


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        (0.5, TypeError, "mask 'exposure' must be a floating-point tensor, got float"),
        (np.ones((1, 1, 1, 1)), TypeError, "must be a floating-point tensor, got ndarray"),
        (torch.ones(1, 1, 1, 1).int(), TypeError, r"floating-point tensor, got torch\.int32"),
        (
            torch.ones(1, 1, 1, 1, device="meta"),
            ValueError,
            r"must be on the device of the image, cpu, got meta\. Move it there by \.to",
        ),
    ],
)
def test_a_mask_of_another_kind_or_device_raises(mask, kind, message):
    retoucher = Retoucher(opmask.operators.Exposure())
    with pytest.raises(kind, match=message):
        retoucher(torch.rand(1, 3, 4, 4), {"exposure": mask})


def test_masks_of_another_precision_are_taken():
    retoucher, image = Retoucher(opmask.operators.Exposure()), torch.rand(1, 3, 4, 4)
    for dtype in (torch.float16, torch.float64):
        output = retoucher(image, {"exposure": torch.full((1, 1, 1, 1), 0.5, dtype=dtype)})
        assert output.dtype == torch.float32


def test_masks_out_of_their_range_are_applied_as_they_are_and_an_edit_clamps_them():
    retoucher, image = Retoucher(opmask.operators.Exposure()), torch.full((1, 3, 4, 4), 0.01)
    masks = {"exposure": torch.full((1, 1, 1, 1), 3.0)}
    light = opmask.LINEAR_RGB.from_rgb(retoucher(image, masks))
    torch.testing.assert_close(light, 8 * opmask.LINEAR_RGB.from_rgb(image))
    assert retoucher.edit(masks)["exposure"].item() == 2


def test_shapes_are_worked_out_without_values():
    retoucher, image = opmask.photo_retoucher(), torch.rand(2, 3, 4, 5, device="meta")
    assert retoucher(image, retoucher.identity(image)).shape == image.shape


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (2, 1, 4, 4), (1, 3, 4, 4), (1, 4, 4)])
def test_a_mask_of_another_shape_raises(shape):
    retoucher, image = opmask.lab_retoucher(), torch.rand(1, 3, 4, 4)
    masks = {**retoucher.identity(image), "l_add": torch.zeros(shape)}
    with pytest.raises(ValueError, match=r"mask 'l_add' must have shape \(1, 1, 4, 4\) to fit"):
        retoucher(image, masks)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 4), (1, 1, 4, 4)])
def test_an_image_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got"):
        opmask.lab_retoucher()(torch.rand(shape), {})
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got"):
        opmask.lab_retoucher().identity(torch.rand(shape))


def test_an_8_bit_image_raises_and_says_what_to_do():
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"got torch\.uint8\. Divide 8-bit values by 255"):
        opmask.lab_retoucher()(image, {})


@pytest.mark.parametrize("shape", [(1, 5, 4, 4), (6, 4, 4)])
def test_logits_of_another_shape_raise(shape):
    with pytest.raises(ValueError, match=r"'logits' must have shape \(B, 6, H, W\)"):
        opmask.lab_retoucher().from_logits(torch.zeros(shape))


def test_a_name_used_twice_raises():
    with pytest.raises(
        ValueError, match=r"\['a_add', 'b_add', 'l_add'\] are used twice\. Pass prefix="
    ):
        Retoucher(Add(LAB), Add(LAB))


def test_no_operator_raises():
    with pytest.raises(ValueError, match="Retoucher needs at least one operator"):
        Retoucher()


def test_something_else_than_an_operator_raises():
    with pytest.raises(TypeError, match=r"must be opmask\.Operator objects, got Identity"):
        Retoucher(torch.nn.Identity())


def test_a_retoucher_has_no_state_to_save_and_pickles():
    retoucher, image = Retoucher(Gated(Mul(LAB), Add(LAB))), torch.rand(1, 3, 4, 4)
    assert not retoucher.state_dict()
    twin, masks = pickle.loads(pickle.dumps(retoucher)), random_masks(retoucher, image)
    torch.testing.assert_close(twin(image, masks), retoucher(image, masks))


def test_a_retoucher_compiles_in_one_graph():
    retoucher, image = Retoucher(Gated(Mul(LAB)), Add(HLS)), torch.rand(1, 3, 4, 4)
    masks = random_masks(retoucher, image)
    compiled = torch.compile(retoucher, fullgraph=True, backend="eager")
    expected = retoucher(image, masks)
    # Compiled, colours are polynomials, which are good to this.
    torch.testing.assert_close(compiled(image, masks), expected, atol=5e-5, rtol=0)


def test_printing_shows_the_stages():
    text = repr(Retoucher(Mul(LAB), Add(LAB, "l")))
    assert "lab" in text
    assert "Mul(l_mul, a_mul, b_mul)" in text
    assert "Add(l_add)" in text


def test_editing_all_masks_leaves_gates_alone_so_that_strength_acts_once():
    image = torch.rand(1, 3, 8, 8)
    inner = opmask.Gated(opmask.Add(opmask.LAB, "l"), prefix="in_")
    retoucher = Retoucher(opmask.Gated(inner, opmask.Mul(opmask.LAB, "a")))
    masks = {name: torch.full((1, 1, 8, 8), 0.2) for name in retoucher.ranges}
    edited = retoucher.edit(masks, strength=0.5)
    assert retoucher.gates == ("in_gate", "gate")
    assert edited["in_gate"] is masks["in_gate"]
    assert edited["gate"] is masks["gate"]
    torch.testing.assert_close(edited["l_add"], masks["l_add"] / 2)
    assert retoucher.edit(masks, "gate", strength=0.0)["gate"].mean() == 0.5
    assert retoucher(image, retoucher.edit(masks, strength=0.0)).sub(image).abs().max() < 1e-4


def test_masks_without_names_raise():
    with pytest.raises(TypeError, match="'masks' must be a dict of masks by name, got Tensor"):
        Retoucher(Add(LAB, "l"))(torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))


def test_what_is_not_a_number_stays_at_its_pixel():
    image, retoucher = torch.rand(1, 3, 4, 4), Retoucher(Add(LAB))
    masks = retoucher.identity(image)
    masks["l_add"][..., 2, 1] = torch.nan
    nan = retoucher(image, masks).isnan()
    assert torch.equal(nan, masks["l_add"].isnan().expand_as(nan))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (3, 4, 4), (1, 1, 2, 4), (2,)])
def test_a_region_that_does_not_fit_raises(shape):
    retoucher = Retoucher(Add(LAB, "l"))
    masks = retoucher.identity(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"'region' must have shape \(1, 1, 4, 4\) to fit"):
        retoucher.edit(masks, "l_add", offset=0.1, region=torch.ones(shape))


def test_an_edit_takes_one_name():
    retoucher = Retoucher(opmask.operators.Exposure())
    masks = retoucher.identity(torch.rand(1, 3, 4, 4))
    with pytest.raises(TypeError, match=r"'name' must be one name of a mask, .*\['exposure'\]"):
        retoucher.edit(masks, ["exposure"])

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import opmask
from opmask import LAB, RGB, Add, Gated, Mul, Operator, Retoucher
from opmask.operators import Exposure, LowResolution, Parallel, Relight
from opmask.retouch import pixels
from opmask.retouch.pixels import Enlarged, acting, shrink_photo


class Blur(Operator):
    """Looks at neighbours, so that it must not be run in strips."""

    space = RGB
    ranges = {"blur": opmask.MaskRange(0.0, low=0.0 - 1e-6, high=1.0)}

    def forward(self, image, mask):
        return image.lerp(F.avg_pool2d(image, 9, 1, 4, count_include_pad=False), mask)


def retouch(retoucher, stored, masks, **options):
    """The same in a copy."""
    result = stored.clone()
    assert retoucher.apply_(result, masks, **options) is result
    return result


def masks_of(retoucher, height=11, width=17):
    logits = 2 * torch.randn(1, len(retoucher.ranges), height, width)
    return retoucher.from_logits(logits)


@pytest.mark.parametrize(
    ("dtype", "white", "tolerance"),
    [
        (torch.uint8, 255, 0),
        # The last numbers of a row are computed by other instructions than those of a vector.
        (torch.uint16, 65535, 1),
        (torch.float32, 1, 1e-5),
    ],
)
@pytest.mark.parametrize("strip", [1, 500, 4096])
def test_strips_equal_the_whole_photo(monkeypatch, dtype, white, tolerance, strip):
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)))
    masks, stored = masks_of(retoucher), (torch.rand(97, 131, 3) * white).to(dtype)
    whole = retouch(retoucher, stored, masks)
    monkeypatch.setattr(pixels, "STRIP", strip)
    parts = retouch(retoucher, stored, masks)
    assert parts.dtype == dtype
    torch.testing.assert_close(parts.double(), whole.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [(97, 131), (11, 17), (300, 17), (5, 200), (7, 9)])
def test_rows_are_those_of_the_whole(size):
    maps = torch.rand(1, 3, 11, 17)
    small = min(size[0], 11), min(size[1], 17)
    shrunk = F.interpolate(maps, small, mode="bilinear", antialias=True)
    whole = F.interpolate(shrunk, size, mode="bilinear")
    enlarged = Enlarged(maps, size)
    rows = torch.cat([enlarged[slice(i, i + 4)] for i in range(0, size[0], 4)], 2)
    torch.testing.assert_close(rows, whole)


def test_between_equal_values_there_is_that_value():
    assert (Enlarged(torch.full((1, 1, 9, 7), 0.3), (200, 333))[:] == torch.tensor(0.3)).all()


def test_operators_that_look_at_neighbours_get_the_whole_photo(monkeypatch):
    monkeypatch.setattr(pixels, "STRIP", 64)
    stored, retoucher = torch.rand(40, 32, 3), Retoucher(Add(RGB), Blur())
    masks = masks_of(retoucher)
    whole = {name: F.interpolate(m, (40, 32), mode="bilinear") for name, m in masks.items()}
    wanted = retoucher(stored.permute(2, 0, 1)[None], whole)[0].permute(1, 2, 0)
    torch.testing.assert_close(retouch(retoucher, stored, masks), wanted)
    assert not retoucher.pixelwise
    assert opmask.hls_retoucher().pixelwise


def test_pixels_with_masks_at_their_identity_stay_to_the_last_bit():
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)), Add(RGB, "r"))
    stored, masks = torch.rand(40, 60, 3), masks_of(retoucher, 8, 12)
    masks["gate"][..., :6] = 0
    masks["r_add"][..., :6] = 0
    result = retouch(retoucher, stored, masks)
    assert torch.equal(result[:, :25], stored[:, :25])
    assert not torch.equal(result[:, 35:], stored[:, 35:])


def test_masks_act_where_one_is_off_its_identity_behind_an_open_gate():
    retoucher = Retoucher(Gated(Add(RGB, "r")))
    add, gate = torch.tensor([0.0, 0.1, 0.0, 0.1]), torch.tensor([0.0, 0.0, 0.5, 0.5])
    masks = {"r_add": add.view(1, 1, 1, 4), "gate": gate.view(1, 1, 1, 4)}
    assert acting(retoucher, masks).flatten().tolist() == [False, False, False, True]


@pytest.mark.parametrize("size", [(24, 40), (97, 161), (20, 161)])
def test_the_small_copy_is_that_of_the_whole_photo(monkeypatch, size):
    stored = torch.randint(0, 256, (97, 161, 3), dtype=torch.uint8)
    image = stored.permute(2, 0, 1)[None] / 255
    wanted = image if size == (97, 161) else F.interpolate(
        image, size, mode="bilinear", antialias=True
    )  # fmt: skip
    monkeypatch.setattr(pixels, "STRIP", 700)
    torch.testing.assert_close(shrink_photo(stored, size), wanted)


def test_the_small_copy_of_white_is_no_more_than_white():
    white = torch.full((97, 131, 3), 255, dtype=torch.uint8)
    assert shrink_photo(white, (33, 44)).max() == 1


def test_a_compiled_retoucher_gives_the_same(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: asked.append(options) or f)
    retoucher, stored = opmask.lab_retoucher(), torch.rand(20, 30, 3)
    masks = masks_of(retoucher)
    compiled = retouch(retoucher, stored, masks, compile=True)
    assert asked
    torch.testing.assert_close(compiled, retouch(retoucher, stored, masks))


class InvalidCxxCompiler(RuntimeError):
    """Named as torch's, which it raises where there is no compiler."""


def test_without_a_compiler_it_is_not_compiled_which_is_said_once(monkeypatch):
    calls = []

    def compile(function, **options):
        def fail(*arguments):
            calls.append(arguments)
            raise InvalidCxxCompiler("No working C++ compiler found")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    retoucher, stored = opmask.lab_retoucher(), torch.rand(600, 300, 3)
    masks = masks_of(retoucher)
    with pytest.warns(UserWarning, match="not compiled, .* No working C\\+\\+ compiler") as said:
        found = retouch(retoucher, stored, masks, compile=True)
    assert len(said) == len(calls) == 1
    torch.testing.assert_close(found, retouch(retoucher, stored, masks))


def test_other_errors_of_compiled_code_are_not_hidden(monkeypatch):
    def compile(function, **options):
        def fail(*arguments):
            raise RuntimeError("out of memory")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    retoucher = opmask.lab_retoucher()
    with pytest.raises(RuntimeError, match="out of memory"):
        retouch(retoucher, torch.rand(20, 30, 3), masks_of(retoucher), compile=True)


def test_strips_in_which_no_mask_acts_are_not_computed(monkeypatch):
    monkeypatch.setattr(pixels, "STRIP", 10 * 40)
    retoucher, calls = Retoucher(Add(RGB, "r")), []
    apply = retoucher.unclipped
    monkeypatch.setattr(retoucher, "unclipped", lambda *args: calls.append(1) or apply(*args))
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., :10, :] = 0.2
    stored = torch.full((40, 40, 3), 51, dtype=torch.uint8)
    result = retouch(retoucher, stored, {"r_add": mask})
    assert len(calls) == 1
    assert torch.equal(result[10:], stored[10:])
    assert result[0, 0].tolist() == [102, 51, 51]


@pytest.mark.parametrize("operator", [Relight(), LowResolution(Exposure())])
def test_masks_that_are_smoothed_act_beside_where_they_are_drawn(operator):
    retoucher, stored = Retoucher(operator), torch.full((64, 64, 3), 100, dtype=torch.uint8)
    masks = {name: torch.zeros(1, 1, 16, 16) for name in retoucher.ranges}
    masks[next(iter(masks))][..., 8:] = 1.0
    row = retouch(retoucher, stored, masks)[32, :, 0].int()
    assert (row[28:36].diff() <= 6).all()
    assert row[0] == 100 < row[31] < row[63]
    nothing = {name: torch.zeros(1, 1, 16, 16) for name in masks}
    assert torch.equal(retouch(retoucher, stored, nothing), stored)


def test_an_operator_acts_where_the_gate_of_the_one_beside_it_is_shut():
    retoucher = Retoucher(Parallel(Gated(Add(LAB, "a")), Add(LAB, "l")))
    masks = {name: torch.zeros(1, 1, 2, 2) for name in retoucher.ranges}
    masks["a_add"][..., 0], masks["l_add"][..., 1] = 0.1, 0.1
    assert acting(retoucher, masks).tolist() == [[[[False, True]] * 2]]


def test_pixels_of_an_array_are_changed_in_place():
    array = np.full((30, 40, 3), 20_000, dtype=np.uint16)
    retoucher = Retoucher(Exposure())
    retoucher.apply_(torch.from_numpy(array)[::2], {"exposure": torch.ones(1, 1, 3, 4)})
    assert (array[1::2] == 20_000).all()
    assert (array[::2] > 26_000).all()


@pytest.mark.parametrize(
    ("stored", "masks", "error", "message"),
    [
        (torch.zeros(3, 8, 9), {}, ValueError, r"\(H, W, 3\) or \(H, W, 1\), got"),
        (torch.zeros(1, 3, 8, 8), {}, ValueError, r"\(H, W, 3\) or \(H, W, 1\), got"),
        (np.zeros((8, 8, 3)), {}, ValueError, "got ndarray"),
        (torch.zeros(8, 8, 3, dtype=torch.int32), {}, TypeError, "uint16 or floating point"),
        (torch.zeros(8, 8, 3), {"a": torch.zeros(1, 1, 2, 2)}, KeyError, "exactly the keys"),
        (torch.zeros(8, 8, 3), [torch.zeros(1, 1, 2, 2)], TypeError, "a dict of masks by name"),
        (
            torch.zeros(8, 8, 3),
            {"g_add": torch.zeros(1, 1, 3, 2)},
            ValueError,
            "'g_add' must have",
        ),
        (torch.zeros(8, 8, 3), {"g_add": torch.zeros(2, 2)}, ValueError, "'g_add' must have"),
        (torch.zeros(8, 8, 3), {"g_add": 1}, TypeError, "must be a floating-point tensor"),
    ],
)
def test_what_is_no_photo_or_no_mask_of_it_is_refused(stored, masks, error, message):
    retoucher = Retoucher(Add(RGB, "r", "g"))
    if isinstance(masks, dict) and masks.keys() != {"a"}:
        masks = {"r_add": torch.zeros(1, 1, 2, 2), "g_add": torch.zeros(1, 1, 2, 2)} | masks
    with pytest.raises(error, match=message):
        retoucher.apply_(stored, masks)


def test_constant_masks_need_one_pixel_only():
    stored, retoucher = torch.rand(20, 30, 3), Retoucher(Mul(RGB))
    masks = masks_of(retoucher)
    masks["g_mul"] = torch.full((1, 1, 1, 1), 0.5)
    result = retouch(retoucher, stored, masks)
    torch.testing.assert_close(result[..., 1], stored[..., 1] / 2)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            np.zeros((4, 4, 3), np.uint8),
            r"got ndarray\. Views will do: torch\.from_numpy\(array\)",
        ),
        (torch.zeros(4, 4, 4), r"got \(4, 4, 4\)\. .*, pixels\[\.\.\., :3\] without alpha"),
        (torch.zeros(0, 4, 3), r"'stored' must hold at least one pixel, got \(0, 4, 3\)"),
    ],
)
def test_what_holds_no_pixels_is_refused_with_a_way_out(stored, message):
    retoucher = Retoucher(Exposure())
    with pytest.raises(ValueError, match=message):
        retoucher.apply_(stored, masks_of(retoucher))


def test_masks_of_one_number_fit_the_others_whatever_their_order():
    retoucher, stored = opmask.lab_retoucher(), torch.rand(9, 8, 3)
    masks = masks_of(retoucher, 4, 5)
    masks["l_mul"] = torch.full((1, 1, 1, 1), 0.5)
    whole = masks | {"l_mul": torch.full((1, 1, 4, 5), 0.5)}
    assert torch.equal(retouch(retoucher, stored, masks), retouch(retoucher, stored, whole))
    with pytest.raises(ValueError, match=r"\(1, 1, 3, 5\) to fit mask 'l_mul', got .* Resize it"):
        retoucher.apply_(stored, masks | {"l_mul": torch.ones(1, 1, 3, 5)})
    with pytest.raises(ValueError, match="mask 'l_mul' must not be empty, got"):
        retoucher.apply_(stored, dict.fromkeys(masks, torch.ones(1, 1, 0, 5)))

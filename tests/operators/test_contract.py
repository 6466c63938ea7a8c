"""What every operator of opmask's table promises."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from shipped import AROUND, NAMES, build
from torch import nn

import opmask
from opmask import Gated, MaskRange, Operator, Retoucher
from opmask.checkpoints.operators import build_retoucher, describe_operator
from opmask.testing import check_operator

COLORS = torch.cat(
    [torch.eye(3), 1 - torch.eye(3), torch.tensor([[0.0], [0.5], [1.0]]).expand(3, 3)]
)
every_operator = pytest.mark.parametrize("name", NAMES)


def image(batch=2, height=7, width=9):
    """Random colours in and out of gamut, after the pure colours, black, grey and white."""
    drawn = torch.rand(batch, 3, height, width) * 2 - 0.5
    drawn[:, :, 0] = COLORS.T[:, :width]
    return drawn


def masks_at(retoucher, shares, shape):
    """Masks that lie a share of the way between the ends of their ranges."""
    return {
        name: r.low + (r.high - r.low) * (shares if isinstance(shares, float) else shares(shape))
        for name, r in retoucher.ranges.items()
    }


def random_masks(retoucher, x):
    return masks_at(retoucher, torch.rand, (x.shape[0], 1, *x.shape[-2:]))


def test_there_are_thirty_operators_and_more():
    assert len(NAMES) >= 30
    assert all(issubclass(getattr(opmask.operators, name), Operator) for name in NAMES)


@every_operator
def test_the_contract_is_kept(name):
    check_operator(build(name))


@every_operator
def test_ranges_are_bounded_and_can_be_learnt(name):
    for r in build(name).ranges.values():
        z = torch.tensor([-40.0, 0.0, 40.0])
        torch.testing.assert_close(
            r.from_logits(z), torch.tensor([r.low, r.identity, r.high]), rtol=0, atol=1e-5
        )


@every_operator
def test_the_identity_is_exact_through_a_retoucher(name):
    retoucher, x = Retoucher(build(name)), image()
    output = retoucher.unclipped(x, retoucher.identity(x))
    alone = retoucher.stages[0].space
    torch.testing.assert_close(output, alone.to_rgb(alone.from_rgb(x)), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        retoucher(x.clamp(0, 1), retoucher.identity(x)), x.clamp(0, 1), rtol=0, atol=1e-5
    )


@every_operator
@pytest.mark.parametrize("share", ["identity", 0.0, 1.0])
def test_values_and_gradients_are_finite_for_all_colors(name, share):
    retoucher, x = Retoucher(build(name)), image().requires_grad_()
    masks = retoucher.identity(x)
    if share != "identity":
        masks = {n: m * 0 + masks_at(retoucher, share, ())[n] for n, m in masks.items()}
    inputs = [x, *(m.requires_grad_() for m in masks.values())]
    output = retoucher.unclipped(x, masks)
    found = torch.autograd.grad(output.sum(), inputs)
    assert all(t.isfinite().all() for t in (output, *found))


@every_operator
def test_every_mask_changes_something(name):
    retoucher, x = Retoucher(build(name)), torch.rand(1, 3, 32, 32)
    for mask in retoucher.ranges.keys() - set(retoucher.gates):
        r = retoucher.ranges[mask]
        for end in (r.low, r.high):
            masks = retoucher.identity(x) | {mask: torch.full((1, 1, 1, 1), end)}
            masks |= {gate: torch.ones(1, 1, 1, 1) for gate in retoucher.gates}
            assert (retoucher(x, masks) - x).abs().max() > 0.02


@every_operator
def test_images_of_a_batch_do_not_mix(name):
    retoucher, x = Retoucher(build(name)), image(3)
    masks = random_masks(retoucher, x)
    alone = retoucher(x[1:2], {n: m[1:2] for n, m in masks.items()})
    # The ends of vectors are rounded otherwise.
    torch.testing.assert_close(retoucher(x, masks)[1:2], alone, rtol=0, atol=5e-6)


@every_operator
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    retoucher, x = Retoucher(build(name)), image().clamp(0, 1).to(dtype)
    masks = {n: m.to(dtype) for n, m in random_masks(retoucher, x.float()).items()}
    output = retoucher(x, masks)
    assert output.dtype == torch.float32
    expected = retoucher(x.float(), {n: m.float() for n, m in masks.items()})
    torch.testing.assert_close(output, expected, rtol=0, atol=0)


@every_operator
def test_the_memory_format_does_not_matter(name):
    retoucher, x = Retoucher(build(name)), image()
    masks = random_masks(retoucher, x)
    last = retoucher(x.to(memory_format=torch.channels_last), masks)
    torch.testing.assert_close(last, retoucher(x, masks), rtol=0, atol=1e-6)


@every_operator
def test_copies_and_pickles_act_alike(name):
    operator, x = build(name, prefix="sky_"), image()
    m = torch.cat([*random_masks(Retoucher(operator), x).values()], 1)
    for twin in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert torch.equal(twin(x, m), operator(x, m))
        assert twin.ranges == operator.ranges


class Beside(nn.Module):
    """Operators beside one another, so that one graph tells of many."""

    def __init__(self, names):
        super().__init__()
        self.retouchers = nn.ModuleList(Retoucher(build(name)) for name in names)

    def forward(self, image, masks):
        pairs = zip(self.retouchers, masks, strict=True)
        return [retoucher(image, own) for retoucher, own in pairs]

    def random_masks(self, x):
        return [random_masks(retoucher, x) for retoucher in self.retouchers]


def assert_close_by_name(names, outputs, expected):
    # Compiled for a CPU the curves of colour spaces are polynomials, good to 5e-5 in gamut.
    for name, output, wanted in zip(names, outputs, expected, strict=True):
        torch.testing.assert_close(
            output, wanted, rtol=0, atol=5e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


def compiled_equals_eager(names, backend):
    model, x = Beside(names), image()
    masks = model.random_masks(x)
    torch.compiler.reset()
    with warnings.catch_warnings():  # of torch's own modules, as they are imported
        warnings.simplefilter("ignore", DeprecationWarning)
        outputs = torch.compile(model, fullgraph=True, backend=backend)(x, masks)
    assert_close_by_name(names, outputs, model(x, masks))


@every_operator
def test_it_is_traced_as_one_graph(name):
    compiled_equals_eager([name], "eager")


every_group = pytest.mark.parametrize(
    "names", [NAMES[i::8] for i in range(8)], ids=lambda names: f"{names[0]} and more"
)


@pytest.mark.slow
def test_compiled_code_gives_the_same():
    # Some of each kind: to compile all of them takes seven minutes.
    compiled_equals_eager(["Add", "Gated", "Temperature", "ToneCurve", "Grain"], "inductor")


@pytest.mark.slow
@every_group
def test_torch_export_takes_it_at_any_size(names):
    model, x = Beside(names), image()
    free = dict.fromkeys([0, 2, 3], torch.export.Dim.DYNAMIC)
    masks = model.random_masks(x)
    shapes = (free, [dict.fromkeys(own, free) for own in masks])
    program = torch.export.export(model, (x, masks), dynamic_shapes=shapes, strict=False)
    x = image(3, 5, 9)
    masks = model.random_masks(x)
    assert_close_by_name(names, program.module()(x, masks), model(x, masks))


@pytest.mark.slow
@every_group
def test_onnx_runtime_gives_the_same(names, tmp_path):
    # One after the other in one file, with masks of a third of their ranges;
    # benchmarks/onnx_parity.py exports each by itself and goes to the ends.
    import onnxruntime

    retoucher = Retoucher(*(build(name, prefix=f"{name.lower()}_") for name in names))
    opmask.export.to_onnx(retoucher, tmp_path / "a.onnx", "retoucher", check=False)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=providers)
    x = image(3, 12, 9)
    masks = retoucher.edit(random_masks(retoucher, x), strength=1 / 3)
    feed = {"image": x.numpy(), **{n: m.numpy() for n, m in masks.items()}}
    (output,) = session.run(None, feed)
    torch.testing.assert_close(torch.from_numpy(output), retoucher(x, masks), rtol=0, atol=1e-4)


# --- names, ranges, prefixes ---


def test_no_two_operators_share_the_name_of_a_mask():
    operators = [build(name) for name in NAMES if name not in ("Gated", *AROUND)]
    masks = [mask for operator in operators for mask in operator.ranges]
    assert len(set(masks)) == len(masks)
    assert len(Retoucher(*operators, Gated(opmask.Add(opmask.HSV, "v"))).ranges) == len(masks) + 2


@every_operator
def test_names_are_snake_case_and_a_prefix_goes_before_each(name):
    plain, twice = build(name), build(name, prefix="sky_")
    own = [mask for mask in twice.ranges if mask.startswith("sky_")]
    assert own == [f"sky_{mask}" for mask in plain.ranges][-len(own) :]
    assert len(own) == len(plain.ranges) or name == "Gated"
    assert all(mask.isidentifier() and mask == mask.lower() for mask in plain.ranges)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Add", "Mul")])
def test_a_range_is_replaced_by_the_name_of_its_mask(name):
    plain = build(name)
    mask = list(plain.ranges)[-1]
    r = plain.ranges[mask]
    narrow = MaskRange(r.identity, (r.low + r.identity) / 2, (r.high + r.identity) / 2)
    changed = build(name, ranges={mask: narrow}, prefix="sky_")
    assert changed.ranges[f"sky_{mask}"] == narrow
    assert list(changed.ranges.values())[:-1] == list(plain.ranges.values())[:-1]
    with pytest.raises(ValueError, match=r"'ranges' must be drawn from \[.*\], got \['nothing'\]"):
        build(name, ranges={"nothing": narrow})


def test_a_range_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"must map names to opmask\.MaskRange, got \(0, 1\)"):
        build("Exposure", ranges={"exposure": (0, 1)})
    with pytest.raises(TypeError, match=r"opmask\.MaskRange, got \(0, 1\)"):
        build("Add", range=(0, 1))


@every_operator
def test_a_range_with_another_identity_is_refused(name):
    plain = build(name)
    mask, r = next(iter(plain.ranges.items()))
    moved = MaskRange((r.identity + r.high) / 2, r.low, r.high)
    if name == "Gated":
        assert (
            build(name, ranges={"gate": MaskRange(0.9, 0.0, 1.0)}).ranges["gate"].identity == 0.9
        )
        return
    options = {"range": moved} if name in ("Add", "Mul") else {"ranges": {mask: moved}}
    with pytest.raises(ValueError, match=f"the range of mask '{mask}' must keep its identity, "):
        build(name, **options)


def test_a_gate_that_does_more_than_open_is_refused():
    with pytest.raises(ValueError, match="the range of the gate must be within 0 and 1, got"):
        build("Gated", ranges={"gate": MaskRange(0.5, 0.0, 2.0)})


# --- files ---

OTHERS = {
    "Affine": {"pivot": (0.2, 0.4, 0.6)},
    "Blur": {"radius": 0.1},
    "Clarity": {"radius": 0.1, "contrast": 0.2},
    "ColorCurve": {"knots": 3},
    "Contrast": {"pivot": 0.25},
    "Dehaze": {"airlight": 0.8},
    "Denoise": {"radius": 0.1, "noise": 0.2},
    "Duotone": {"dark": 0.1, "bright": (1.0, 0.9, 0.5)},
    "Grain": {"size": 0.1, "seed": 0xFFFFFFFF},
    "Highlights": {"degree": 8},
    "HueShift": {"space": opmask.HSV},
    "LowResolution": {"size": 2},
    "PhotoFilter": {"color": (0.2, 0.5, 1.0)},
    "Relight": {"softness": 0.2},
    "Sharpen": {"radius": 0.1},
    "Shadows": {"degree": 12},
    "ToneCurve": {"knots": 5},
    "ToneEqualizer": {"zones": 4},
}


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_of_numpy_are_kept_in_files(name):
    def of_numpy(value):
        if isinstance(value, tuple):
            return tuple(map(of_numpy, value))
        kinds = {int: np.int64, float: np.float32}
        return kinds.get(type(value), lambda other: other)(value)

    operator = build(name, **{key: of_numpy(value) for key, value in OTHERS[name].items()})
    again = build_retoucher([describe_operator(operator)]).operators[0]
    plain = build(name, **OTHERS[name])
    assert again.arguments == operator.arguments
    assert again.arguments.keys() == plain.arguments.keys()


COUNTS = {
    "ColorCurve": "knots",
    "Grain": "seed",
    "Highlights": "degree",
    "LowResolution": "size",
    "Shadows": "degree",
    "ToneCurve": "knots",
    "ToneEqualizer": "zones",
}


@pytest.mark.parametrize(("name", "argument"), COUNTS.items())
def test_counts_are_whole_numbers(name, argument):
    with pytest.raises(TypeError, match=f"'{argument}' must be a whole number, got 3.5"):
        build(name, **{argument: 3.5})


TABLES = {"channels", "ties", "values"}
"""Arguments that name masks or channels."""


def test_every_operator_with_arguments_is_described_with_others():
    own = {name for name in NAMES if build(name).arguments.keys() - TABLES}
    assert own | {"HueShift"} == OTHERS.keys()


@every_operator
def test_a_file_describes_an_operator_whole(name):
    operator = build(name, prefix="sky_", **OTHERS.get(name, {}))
    if name not in ("Add", "Mul"):
        own = [mask for mask in operator.ranges if mask.startswith("sky_")]
        narrow = {
            mask.removeprefix("sky_"): MaskRange(r.identity, (r.low + r.identity) / 2, r.high)
            for mask, r in operator.ranges.items()
            if mask in own
        }
        operator = build(name, ranges=narrow, prefix="sky_", **OTHERS.get(name, {}))
    again = build_retoucher([describe_operator(operator)]).operators[0]
    x = image()
    m = torch.cat([*random_masks(Retoucher(operator), x).values()], 1)
    assert (type(again), again.ranges, again.gates) == (
        type(operator),
        operator.ranges,
        operator.gates,
    )
    assert (again.arguments, again.prefix) == (operator.arguments, operator.prefix)
    assert torch.equal(again(x, m), operator(x, m))


def test_a_saved_model_keeps_every_operator(tmp_path):
    operators = [
        build(name, **OTHERS.get(name, {}) | ({"prefix": f"{name}_"} if name in AROUND else {}))
        for name in NAMES
        if name != "Gated"
    ]
    model = opmask.OperatorMaskWrapper(
        opmask.backbones.SmallUNet(width=8),
        Retoucher(*operators, Gated(opmask.Add(opmask.HSV, "v"))),
    )
    opmask.save(model, tmp_path / "model.safetensors")
    loaded = opmask.load(tmp_path / "model.safetensors")
    assert repr(loaded.retoucher) == repr(model.retoucher)
    assert [op.arguments for op in loaded.retoucher.operators] == [
        op.arguments for op in model.retoucher.operators
    ]

"""Exported files in ONNX Runtime, beside the models that they were made of."""

import json
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import opmask
from opmask import (
    HLS,
    HLS_CLAMPED,
    HSV,
    LAB,
    LAB_CENTERED,
    LAB_UNIT,
    LAB_UNIT_CLAMPED,
    LINEAR_RGB,
    RGB,
    Add,
    Gated,
    MaskRange,
    Mul,
    Operator,
    OperatorMaskWrapper,
    Retoucher,
)
from opmask.backbones import AttentionUNet, RegionUNet, SmallUNet
from opmask.export import metadata as exporting_metadata
from opmask.export import onnx as exporting
from opmask.export import to_onnx
from opmask.export.weights import halve


class Exposure(Operator):
    space, ranges = LINEAR_RGB, {"exposure": MaskRange(0.0, -2.0, 2.0)}

    def forward(self, image, mask):
        return image * 2**mask


SPACES = (
    *(RGB, LINEAR_RGB, LAB, LAB_CENTERED, LAB_UNIT, LAB_UNIT_CLAMPED),
    *(HLS, HLS_CLAMPED, HSV),
)
RETOUCHERS = {
    "lab": opmask.lab_retoucher(),
    "hls": opmask.hls_retoucher(),
    "paper hls": opmask.paper_hls_retoucher(),
    "paper lab": opmask.paper_lab_retoucher(),
    **{f"in {space.name}": Retoucher(Mul(space), Add(space)) for space in SPACES},
    "one channel": Retoucher(Mul(LAB, "l"), Add(HSV, "v")),
    "out of order": Retoucher(Add(LAB, "b", "l")),
    "unbounded": Retoucher(Mul(LINEAR_RGB, range=MaskRange(1.0, low=0.0)), Add(RGB, "g")),
    "gated": Retoucher(Gated(Mul(LAB), Add(LAB))),
    "gated twice": Retoucher(Gated(Gated(Add(LAB, "l"), prefix="in_"), Mul(LAB, "a"))),
    "three spaces": Retoucher(Add(HSV, "s", "v"), Exposure(), Mul(LAB, "l")),
}
SIZES = ((2, 37, 53), (1, 16, 24), (3, 1, 7), (1, 1, 1))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4  # also where there are fewer cores: races show
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, *inputs):
    """What ONNX Runtime finds in a file, by name."""
    opened = session(path)
    feed = {x.name: t.numpy() for x, t in zip(opened.get_inputs(), inputs, strict=True)}
    names = [x.name for x in opened.get_outputs()]
    arrays = map(torch.from_numpy, opened.run(names, feed))
    return dict(zip(names, arrays, strict=True))


def random_image(batch, height, width):
    """Colours in and out of gamut, and some greys, of which black, white and beyond."""
    image = torch.rand(batch, 3, height, width) * 1.6 - 0.3
    greys = torch.tensor([0.0, 1.0, 0.5, 0.2, -0.1, 1.1]).repeat(width)[:width]
    image[..., ::3, :] = greys
    return image


def smooth_image(batch, height, width):
    """Colours that change slowly, as in photos: on noise rounding errors of networks add up."""
    coarse = torch.rand(batch, 3, 3 + height // 16, 3 + width // 16)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def random_masks(retoucher, batch, height, width):
    low = {name: max(r.low, r.identity - 1) for name, r in retoucher.ranges.items()}
    high = {name: min(r.high, r.identity + 1) for name, r in retoucher.ranges.items()}
    shape = (batch, 1, height, width)
    return {n: low[n] + (high[n] - low[n]) * torch.rand(shape) for n in retoucher.ranges}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in RETOUCHERS])
def test_every_retoucher_gives_the_same_picture(name, path):
    retoucher = RETOUCHERS[name]
    to_onnx(retoucher, path, parts="retoucher", check=False)
    # A saturation beside black is without bound: a stage in HSV or HLS magnifies there what the
    # stage before it has rounded.
    atol = 1e-4 if len(retoucher.stages) == 1 else 5e-4
    for size in SIZES:
        image, masks = random_image(*size), random_masks(retoucher, *size)
        output = run(path, image, *masks.values())["image_out"]
        torch.testing.assert_close(output, retoucher(image, masks), rtol=0, atol=atol)


@pytest.mark.slow
def test_add_and_mul_are_not_folded_into_another_picture(path):
    """The optimiser of torch.onnx folds index_add and index_copy: the picture was off by 1."""
    retoucher = Retoucher(Mul(RGB, "b", "r"), Add(RGB))
    to_onnx(retoucher, path, parts="retoucher", check=False)
    image, masks = torch.rand(2, 3, 9, 11), random_masks(retoucher, 2, 9, 11)
    output = run(path, image, *masks.values())["image_out"]
    torch.testing.assert_close(output, retoucher(image, masks), rtol=0, atol=1e-4)


def trained(model):
    """A model as if trained: masks all over their ranges."""
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def smp_unet():
    smp = pytest.importorskip("segmentation_models_pytorch")
    return smp.Unet("resnet18", encoder_weights=None, classes=3)


NETWORKS = {
    "SmallUNet": lambda: trained(OperatorMaskWrapper(SmallUNet(width=8))),
    "RegionUNet": opmask.load,
    "AttentionUNet": lambda: trained(OperatorMaskWrapper(AttentionUNet(width=8, depth=5))),
    "smp": lambda: trained(OperatorMaskWrapper(smp_unet())),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_the_same_masks_and_picture(name, path):
    model = NETWORKS[name]()
    to_onnx(model, path, check=False)
    assert [x.name for x in session(path).get_inputs()] == ["image", "region"][: 1 + model.region]
    for size in (2, 64, 96), (1, 97, 131), (3, 40, 33):
        # A finder decides, and may decide otherwise for a rounding error: what differs in every
        # draw is a fault.
        worst = torch.full(size[:1], torch.inf)
        for _ in range(exporting.ATTEMPTS if model.region else 1):
            inputs = [smooth_image(*size)]
            region = torch.randint(-1, 2, (size[0], 1, *size[1:])).float()
            known = [region, -torch.ones_like(region)] if model.region else [None]
            given = [inputs if each is None else [*inputs, each] for each in known]
            worst = worst.minimum(
                torch.stack([differences(model, path, g) for g in given]).amax(0)
            )
        assert (worst <= 1e-4).all(), worst


def differences(model, path, given):
    """The largest difference of each image of a batch, over all outputs."""
    with torch.no_grad():
        image, masks = model(*given)
    found, wanted = run(path, *given), {"image_out": image, **masks}
    assert [*found] == [*wanted]
    each = [(found[name] - wanted[name]).abs().flatten(1).amax(1) for name in wanted]
    return torch.stack(each).amax(0)


class Histogram(nn.Module):
    """A network that counts in a way in which ONNX Runtime's threads race."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        bins = (image * 7).long().flatten()
        counts = image.new_zeros(8).index_add(0, bins, image.flatten())
        return self.last(image + counts[bins].view_as(image) / image.numel())


def test_races_in_the_engine_are_warned_of(path):
    model = OperatorMaskWrapper(Histogram())
    with pytest.warns(UserWarning, match="scatter_add instead of index_add"):
        to_onnx(model, path, check=False)


@pytest.fixture(scope="module")
def model():
    return trained(OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Add(LAB, "l"))))


@pytest.mark.slow
def test_a_predictor_and_a_retoucher_are_the_whole_in_two_files(model, path, tmp_path):
    to_onnx(model, path, parts="predictor")
    to_onnx(model, tmp_path / "second.onnx", parts="retoucher")
    image = smooth_image(2, 45, 70)
    masks = run(path, image)
    output = run(tmp_path / "second.onnx", image, *masks.values())
    with torch.no_grad():
        expected, expected_masks = model(image)
    torch.testing.assert_close(masks, expected_masks, rtol=0, atol=1e-4)
    torch.testing.assert_close(output["image_out"], expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A file that several tests look at."""
    path = tmp_path_factory.mktemp("gated") / "retoucher.onnx"
    retoucher = Retoucher(Gated(Mul(RGB, "r", range=MaskRange(1.0, low=0.0))))
    to_onnx(retoucher, path, parts="retoucher")
    return path


def test_inputs_outputs_and_free_sizes_have_names(gated):
    inputs, outputs = session(gated).get_inputs(), session(gated).get_outputs()
    assert [x.name for x in inputs] == ["image", "r_mul", "gate"]
    assert [x.shape for x in inputs][:2] == [["batch", n, "height", "width"] for n in (3, 1)]
    assert [(x.name, x.shape) for x in outputs] == [("image_out", inputs[0].shape)]
    assert onnx.load(gated).opset_import[0].version == exporting.OPSET


def test_metadata_say_what_the_masks_mean(gated):
    about = json.loads(session(gated).get_modelmeta().custom_metadata_map["opmask"])
    assert (about["version"], about["parts"]) == (opmask.__version__, "retoucher")
    assert about["size"] == {"fixed": None, "smallest": 1, "multiple_of": 1}
    (gated,) = about["operators"]
    assert (gated["type"], gated["space"], [*gated["masks"]]) == (
        "Gated",
        "rgb",
        ["r_mul", "gate"],
    )
    assert gated["operators"][0]["masks"]["r_mul"] == {"identity": 1.0, "low": 0.0, "high": None}


def test_metadata_say_what_operators_were_built_with():
    operators = [opmask.operators.Contrast(pivot=0.25), opmask.operators.Affine(LAB, "l")]
    found = [exporting_metadata.about_operator(operator)["arguments"] for operator in operators]
    assert found == [{"pivot": 0.25}, {"channels": ("l",), "pivot": 0.5}]


def test_the_file_holds_no_path_of_this_machine(gated):
    assert b".py" not in gated.read_bytes()


@pytest.mark.slow
def test_the_smallest_size_is_told_and_right(path):
    model = trained(OperatorMaskWrapper(RegionUNet(width=8, trunk=False), region=True))
    to_onnx(model, path, parts="predictor")
    about = json.loads(session(path).get_modelmeta().custom_metadata_map["opmask"])
    size = (1, about["size"]["smallest"], about["size"]["smallest"])
    inputs = smooth_image(*size), -torch.ones(1, 1, *size[1:])
    with torch.no_grad():
        torch.testing.assert_close(run(path, *inputs), model.predict(*inputs), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_weights_in_half_precision_take_half_the_size_and_compute_in_single(path, tmp_path):
    model = trained(OperatorMaskWrapper(SmallUNet(width=24), Retoucher(Add(LAB, "l"))))
    to_onnx(model, path, "predictor")
    to_onnx(model, tmp_path / "half.onnx", "predictor", half=True)
    assert (tmp_path / "half.onnx").stat().st_size < 0.55 * path.stat().st_size
    image = smooth_image(1, 40, 56)
    whole, halved = (run(file, image)["l_add"] for file in (path, tmp_path / "half.onnx"))
    assert whole.dtype == halved.dtype == torch.float32
    assert 0 < (whole - halved).abs().max() < 1e-3
    assert halved.half().float().ne(halved).any()  # the masks themselves are not rounded


@pytest.mark.parametrize(
    ("largest", "kind"), [(127, "int8"), (128, "int16"), (-32769, "int32"), (2**31, "int64")]
)
def test_with_weights_in_half_precision_long_lists_of_whole_numbers_get_smaller(largest, kind):
    places = np.zeros(2000, np.int64)
    places[7] = largest
    few = np.arange(4)
    node = helper.make_node("Concat", ["places", "few"], ["all"], axis=0)
    output = helper.make_tensor_value_info("all", TensorProto.INT64, [2004])
    held = [numpy_helper.from_array(a, name) for a, name in ((places, "places"), (few, "few"))]
    graph = helper.make_graph([node], "graph", [], [output], initializer=held)
    halve(graph)
    stored = [numpy_helper.to_array(tensor).dtype.name for tensor in graph.initializer]
    assert stored == [kind, "int64"]
    version = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[version], ir_version=9)
    (made,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {})
    assert np.array_equal(made, np.concatenate([places, few]))


@pytest.mark.slow
def test_a_weight_beyond_half_precision_is_not_written(path):
    model = trained(OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Add(LAB, "l"))))
    with torch.no_grad():
        model.backbone.context.mlp[0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"half precision holds.*reach 1e\+06"):
        to_onnx(model, path, "predictor", half=True)
    assert not path.exists()


@pytest.mark.slow
def test_a_network_that_finds_what_was_changed_by_pieces_is_exported(path):
    network = RegionUNet(4, 7, width=8, trunk="lite0", finder=True)
    model = trained(OperatorMaskWrapper(network, region=True, multiple_of=16))
    torch.nn.init.normal_(network.finder.out.weight)
    to_onnx(model, path, parts="predictor")
    inputs = smooth_image(1, 90, 70), -torch.ones(1, 1, 90, 70)
    with torch.no_grad():
        expected = model.predict(*inputs)
    torch.testing.assert_close(run(path, *inputs), expected, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("work_size", [48, (40, 56)])
def test_a_model_with_a_working_size_is_exported_for_one_size(work_size, path):
    network = SmallUNet(width=8)
    model = trained(OperatorMaskWrapper(network, Retoucher(Add(LAB, "l")), size=work_size))
    with pytest.raises(ValueError, match=r"'size' must be given for a model that works at size="):
        to_onnx(model, path)
    to_onnx(model, path, size=(90, 120))
    image = smooth_image(3, 90, 120)
    with torch.no_grad():
        expected = model(image)
    torch.testing.assert_close(
        run(path, image)["l_add"], expected.masks["l_add"], rtol=0, atol=1e-4
    )
    assert session(path).get_inputs()[0].shape == ["batch", 3, 90, 120]


class Square(nn.Module):
    """A network for images of 32x32 pixels alone."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.rand(1, 8, 32, 32))
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.last((self.first(x) + self.places).relu())


@pytest.mark.slow
def test_a_network_of_one_size_keeps_it(path):
    model = trained(OperatorMaskWrapper(Square(), example=torch.rand(1, 3, 32, 32)))
    to_onnx(model, path)
    image = smooth_image(2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            run(path, image)["image_out"], model(image)[0], rtol=0, atol=1e-4
        )


@pytest.mark.slow
def test_the_model_stays_as_it_is(path):
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Add(LAB, "l"))).bfloat16().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    to_onnx(model, path, check=False)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.dtype == torch.bfloat16 and p.requires_grad for p in model.head.parameters())


@pytest.mark.slow
def test_nothing_is_printed_logged_or_warned_of(path, capfd, caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(opmask.lab_retoucher(), path, parts="retoucher")
    assert (caught, [r for r in caplog.records if r.levelname != "DEBUG"]) == ([], [])
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_file_that_would_compute_something_else_is_not_written(path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match=r"would give another 'image_out' than the model, by"):
        to_onnx(Retoucher(Add(RGB)), path, parts="retoucher")
    assert not path.exists()


class Halves(nn.Module):
    """A network whose graph depends on the image's size."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(x if len(x) * int(x.shape[2]) > 10**6 else sum(x.relu() for _ in x[0, 0]))


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_says_why(path):
    model = trained(OperatorMaskWrapper(Halves()))
    with pytest.raises(ValueError, match=r"'model' cannot be exported: .*Pass size=\(height"):
        to_onnx(model, path, parts="predictor")
    assert not path.exists()


class Fickle(Operator):
    """An operator whose path depends on what is in the image, and that says something."""

    space = LAB
    ranges = {"fickle": MaskRange(0.0)}

    def forward(self, image, mask):
        print("of mine", file=sys.stderr)
        return image + mask if image.mean() > 0.5 else image - mask


def test_an_operator_that_cannot_be_exported_prints_no_graphs(path, capfd):
    with pytest.raises(ValueError, match=r"'model' cannot be exported: .*data-dependent"):
        to_onnx(Retoucher(Fickle()), path, parts="retoucher")
    printed = capfd.readouterr()
    assert (printed.out, set(printed.err.split("\n"))) == ("", {"of mine", ""})
    assert not path.exists()


@pytest.mark.parametrize(
    ("model", "parts", "error", "message"),
    [
        (opmask.lab_retoucher(), "all", ValueError, r"'parts' must be one of .* got 'all'"),
        (opmask.lab_retoucher(), "both", ValueError, r"for a Retoucher, which predicts nothing"),
        (SmallUNet(width=8), "both", TypeError, r"must be an OperatorMaskWrapper .* SmallUNet"),
        (Retoucher(Add(LAB, "l")), "predictor", ValueError, r"got 'predictor'"),
    ],
)
def test_what_has_no_such_part_raises(model, parts, error, message, path):
    with pytest.raises(error, match=message):
        to_onnx(model, path, parts=parts)


class Image(Exposure):
    ranges = {"image": MaskRange(0.0, -2.0, 2.0)}


def test_a_mask_that_is_called_like_an_input_raises(path):
    with pytest.raises(ValueError, match=r"must not be called \['image'\]"):
        to_onnx(Retoucher(Image()), path, parts="retoucher")


@pytest.mark.parametrize("size", [(0, 20), (20,), 32, (20.0, 20)])
def test_a_size_that_is_none_raises(size, path):
    with pytest.raises(ValueError, match=r"'size' must be a height and a width, in whole pixels"):
        to_onnx(opmask.lab_retoucher(), path, parts="retoucher", size=size)


def test_weights_beyond_one_file_raise(model, path, monkeypatch):
    monkeypatch.setattr("opmask.export.weights.LARGEST", 1000)
    with pytest.raises(ValueError, match=r"'model' must have at most 0\.0 GB of float32 weights"):
        to_onnx(model, path)


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(name, path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {name}, .* pip install 'opmask\[export\]'"):
        to_onnx(opmask.lab_retoucher(), path, parts="retoucher")

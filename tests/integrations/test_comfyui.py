"""The nodes, run as ComfyUI runs them: by what they declare, on plain tensors."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import opmask
from opmask import LAB, Add, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.integrations import comfyui
from opmask.integrations.comfyui import EditMask, Harmonize, PredictMasks, Retouch

TYPES = {"IMAGE", "MASK", "STRING", "INT", "FLOAT", comfyui.EDITS}
NODES = [*comfyui.NODE_CLASS_MAPPINGS.values()]


class Brighter(nn.Module):
    """Adds to the lightness where the region says so, or everywhere."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        return self.logit * x[:, 3:].abs()


@pytest.fixture
def checkpoint(tmp_path):
    opmask.save(brighter(), tmp_path / "brighter.safetensors")
    return tmp_path / "brighter.safetensors"


def brighter():
    model = OperatorMaskWrapper(
        opmask.backbones.SmallUNet(4, 1, width=8),
        Retoucher(Add(LAB, "l")),
        region=True,
        head=OutputHead(),
    )
    last = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)][-1]
    nn.init.constant_(last.bias, 0.3)
    return model.eval()


def images(count=2, height=40, width=56):
    coarse = torch.rand(count, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (0.2 + 0.5 * smooth).movedim(1, 3).contiguous()


def left(height=40, width=56, count=1):
    mask = torch.zeros(count, height, width)
    mask[:, :, : width // 2] = 1
    return mask


@pytest.mark.parametrize("node", NODES)
def test_a_node_declares_what_comfyui_asks_for(node):
    inputs = node.INPUT_TYPES()
    assert set(inputs) <= {"required", "optional"}
    for declared in inputs.values():
        for kind, *options in declared.values():
            assert isinstance(kind, list) or kind in TYPES
            assert all(isinstance(o, dict) for o in options)
    assert callable(getattr(node(), node.FUNCTION))
    assert set(node.RETURN_TYPES) <= TYPES
    assert isinstance(node.CATEGORY, str)


@pytest.mark.parametrize("node", NODES)
def test_widgets_have_the_values_that_the_function_has_by_default(node):
    names = node.run.__code__.co_varnames[1 : node.run.__code__.co_argcount]
    defaults = dict(zip(reversed(names), reversed(node.run.__defaults__ or ()), strict=False))
    declared = {k: v for part in node.INPUT_TYPES().values() for k, v in part.items()}
    assert set(declared) == set(names)
    for name, (kind, *options) in declared.items():
        shown = kind[0] if isinstance(kind, list) else (options or [{}])[0].get("default")
        assert defaults.get(name) == shown, name


def test_every_node_has_a_name_to_be_shown():
    assert comfyui.NODE_DISPLAY_NAME_MAPPINGS.keys() == comfyui.NODE_CLASS_MAPPINGS.keys()


def test_a_picture_is_what_harmonize_makes_of_it(checkpoint):
    given = images()
    (made,) = Harmonize().run(given, left(), checkpoint=str(checkpoint))
    model = opmask.load(checkpoint).eval()
    expected = opmask.harmonize(model, given.movedim(3, 1), region=left().expand(2, 1, -1, -1))
    torch.testing.assert_close(made, expected.movedim(1, 3), atol=1e-6, rtol=0)
    assert (made[:, :, :20] > given[:, :, :20]).any()
    assert torch.equal(made[:, :, 32:], given[:, :, 32:])


def test_predicting_and_retouching_is_harmonizing(checkpoint):
    given, options = images(), (left(), 0.5, "no", 32, str(checkpoint))
    edits, said = PredictMasks().run(given, *options)
    assert [edit.size for edit in edits] == [(23, 32)] * 2
    assert said.count("Region 1") == 2
    assert torch.equal(Retouch().run(given, edits)[0], Harmonize().run(given, *options)[0])


def test_a_mask_is_changed_where_another_mask_says(checkpoint):
    given = images()
    edits, _ = PredictMasks().run(given, checkpoint=str(checkpoint))
    (off,) = EditMask().run(edits, "l_add", strength=0.0, mask=left(20, 28))
    (made,) = Retouch().run(given, off)
    assert torch.equal(made[:, :, :20], given[:, :, :20])
    assert (made[:, :, 36:] > given[:, :, 36:]).all()
    (darker,) = EditMask().run(edits, offset=-0.2)
    assert (Retouch().run(given, darker)[0] < Retouch().run(given, edits)[0]).all()


def test_an_edit_of_one_picture_is_for_all_and_for_larger_ones(checkpoint):
    edits, _ = PredictMasks().run(images(1), checkpoint=str(checkpoint))
    large = images(3, 80, 112)
    assert (Retouch().run(large, edits)[0] > large).all()


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 64, 64), torch.zeros(2, 40, 56)])
def test_a_mask_of_zeros_is_none(mask, checkpoint):
    given = images()
    (made,) = Harmonize().run(given, mask, checkpoint=str(checkpoint))
    (blind,) = Harmonize().run(given, checkpoint=str(checkpoint))
    assert torch.equal(made, blind)
    assert (made > given).all()


def test_masks_of_another_size_and_without_a_batch_are_taken(checkpoint):
    given = images()
    half = left(20, 28)
    outputs = [
        Harmonize().run(given, mask, checkpoint=str(checkpoint))[0] for mask in (half, half[0])
    ]
    assert torch.equal(*outputs)
    assert torch.equal(outputs[0][:, :, 36:], given[:, :, 36:])


def test_whether_a_mask_is_a_box_is_seen_at_its_own_size(checkpoint, tmp_path):
    model = opmask.load(checkpoint, backbone=brighter().backbone)
    model.calibration = opmask.Calibration(0.0, (0.5,), (1.0,), told=0.9, rough=0.5)
    opmask.save(model, checkpoint)
    for step in 1, 4, 8:
        box = torch.zeros(1, 512, 332)
        box[:, 120:400, 80:260] = 1
        mask = box[:, ::step, ::step]
        edits, _ = PredictMasks().run(images(1, 512, 332), mask=mask, checkpoint=str(checkpoint))
        assert [a.strength for a in edits[0].adjustments] == [0.5]


def test_alpha_stays_and_what_lies_beyond_is_cut_off(checkpoint):
    given = torch.cat([images(1) * 2 - 0.3, torch.rand(1, 40, 56, 1)], 3)
    (made,) = Harmonize().run(given, checkpoint=str(checkpoint))
    assert torch.equal(made[..., 3], given[..., 3])
    assert (made.min(), made.max()) >= (0, 0)
    assert made.max() <= 1


def test_a_checkpoint_is_read_once_and_anew_when_it_has_changed(checkpoint):
    first = comfyui._model(str(checkpoint))
    assert comfyui._model(str(checkpoint)) is first
    opmask.save(brighter(), checkpoint)
    assert comfyui._model(str(checkpoint)) is not first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": torch.rand(40, 56, 3)}, "'image' must be an IMAGE of shape"),
        ({"image": torch.rand(1, 3, 40, 56)}, "'image' must be an IMAGE of shape"),
        ({"mask": torch.rand(3, 40, 56)}, "'mask' must hold one mask, or one for each of 2"),
        ({"mask": torch.rand(1, 40, 56, 3)}, r"'mask' must be a MASK of shape \(B, H, W\)"),
        ({"strength": "full"}, "'strength' must be auto or a number, got 'full'"),
        ({"refine": "maybe"}, "'refine' must be auto, yes, no, grabcut, got 'maybe'"),
        ({"work_size": 8}, "'work_size' must be at least 16"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        Harmonize().run(**{"image": images(), "checkpoint": str(checkpoint), **arguments})


def test_a_checkpoint_that_is_no_model_with_masks_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        PredictMasks().run(images(), checkpoint=str(tmp_path / "gone.safetensors"))
    opmask.save(
        opmask.DirectRGB(opmask.backbones.SmallUNet(width=8)), tmp_path / "rgb.safetensors"
    )
    with pytest.raises(ValueError, match="'checkpoint' must be a model with operator masks"):
        PredictMasks().run(images(), checkpoint=str(tmp_path / "rgb.safetensors"))


def test_a_mask_that_is_not_there_and_edits_of_another_number_are_refused(checkpoint):
    edits, _ = PredictMasks().run(images(), checkpoint=str(checkpoint))
    with pytest.raises(ValueError, match="'name' must be one of the edit's masks: no mask named"):
        EditMask().run(edits, "glow")
    with pytest.raises(ValueError, match="'edits' must hold one edit, or one for each of 3"):
        Retouch().run(images(3), edits)


def test_nothing_of_comfyui_is_needed():
    code = (
        "import sys, opmask.integrations.comfyui; print([m for m in sys.modules if 'comfy' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("'")[1::2] == ["opmask.integrations.comfyui"]

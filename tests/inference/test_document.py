import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import opmask
from opmask import Edit, plan
from opmask.inference import Adjustment


@pytest.fixture
def edit(gated_model, photo):
    region = torch.zeros(120, 200)
    region[30:90, 50:150] = 1
    edit = plan(gated_model, photo, strength=0.8, work_size=48)
    return edit.adjust("l_add", offset=0.1, region=region).adjust(strength=0.5)


@pytest.fixture
def path(edit, tmp_path):
    edit.save(tmp_path / "a.opmask")
    return tmp_path / "a.opmask"


def test_a_saved_edit_renders_the_photo_to_the_bit(edit, path, photo):
    assert torch.equal(Edit.load(path).render(photo), edit.render(photo))


def test_everything_comes_back(edit, path):
    loaded = Edit.load(path)
    assert loaded.source == edit.source
    assert [a.name for a in loaded.adjustments] == [None, "l_add", None]
    assert [a.strength for a in loaded.adjustments] == [0.8, 1.0, 0.5]
    assert loaded.undo().undo().undo().adjustments == ()
    for name, mask in edit.predicted.items():
        assert torch.equal(loaded.predicted[name], mask)


def test_a_name_that_ends_otherwise_is_fine_and_a_file_is_replaced_whole(edit, tmp_path):
    edit.save(tmp_path / "a.safetensors")
    edit.undo().save(tmp_path / "a.safetensors")
    assert len(Edit.load(tmp_path / "a.safetensors").adjustments) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("change", [{"strength": 1e9}, {"offset": -1e9}])
def test_an_edit_that_could_not_be_loaded_is_not_saved(edit, tmp_path, change):
    adjusted = replace(edit, adjustments=(Adjustment("l_add", **change),))
    with pytest.raises(ValueError, match="cannot be saved: expected `float`"):
        adjusted.save(tmp_path / "a.opmask")
    assert list(tmp_path.iterdir()) == []


def test_masks_that_are_too_large_to_be_loaded_are_not_saved(edit, tmp_path):
    large = {name: torch.zeros(1, 1, 1, 8208).half() for name in edit.predicted}
    with pytest.raises(ValueError, match="at most 8192 pixels a side can be saved, got 8208"):
        replace(edit, predicted=large, adjustments=()).save(tmp_path / "a.opmask")
    assert list(tmp_path.iterdir()) == []


def test_operators_of_ones_own_need_the_retoucher(photo, tmp_path):
    class Exposure(opmask.Operator):
        space = opmask.LINEAR_RGB
        ranges = {"exposure": opmask.MaskRange(0.0, low=-2.0, high=2.0)}

        def forward(self, image, mask):
            return image * 2**mask

    retoucher = opmask.Retoucher(Exposure())
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8), retoucher)
    torch.nn.init.normal_(model.head.layer.weight, std=2.0)
    edit = plan(model, photo)
    edit.save(tmp_path / "a.opmask")
    with pytest.raises(ValueError, match="Pass retoucher="):
        Edit.load(tmp_path / "a.opmask")
    loaded = Edit.load(tmp_path / "a.opmask", retoucher=retoucher)
    assert torch.equal(loaded.render(photo), edit.render(photo))
    with pytest.raises(ValueError, match="'retoucher' must have the masks of the file"):
        Edit.load(tmp_path / "a.opmask", retoucher=opmask.lab_retoucher())
    with pytest.raises(TypeError, match="'retoucher' must be a Retoucher, got Exposure"):
        Edit.load(tmp_path / "a.opmask", retoucher=Exposure())


# --- what is refused ---


def spoiled(path, change):
    """The file with changed tensors and metadata."""
    tensors = load_file(path)
    header = path.read_bytes()[8 : 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]]
    about = json.loads(json.loads(header)["__metadata__"]["opmask_edit"])
    change(about, tensors)
    save_file(tensors, path, metadata={"opmask_edit": json.dumps(about)})


def mask(tensors, value):
    tensors["mask.l_add"] = value


SPOILED = {
    "newer": (lambda a, t: a.update(format=3, opmask="9.0"), "written by opmask 9.0.*Update"),
    "no format": (lambda a, t: a.pop("format"), "missing required field `format`"),
    "size": (lambda a, t: a["source"].update(width=10**9), "'source.width'"),
    "checksum": (lambda a, t: a["source"].update(sha256="../x"), "'source.sha256'"),
    "no operators": (lambda a, t: a.update(operators=[]), "'operators'"),
    "strength": (lambda a, t: a["adjustments"][0].update(strength=1e99), "'adjustments"),
    "no number": (lambda a, t: a["adjustments"][0].update(offset="1"), "expected `float`"),
    "unknown mask": (lambda a, t: a["adjustments"][1].update(name="x"), "names the mask 'x'"),
    "missing": (lambda a, t: t.pop("mask.l_add"), "'mask.l_add' is not so"),
    "more": (lambda a, t: t.update(x=torch.zeros(1)), "'x' is not so"),
    "shape": (lambda a, t: mask(t, torch.zeros(1, 1, 3, 4).half()), "all of one size"),
    "precision": (lambda a, t: mask(t, t["mask.l_add"].float()), "must be in half precision"),
    "not finite": (lambda a, t: mask(t, t["mask.l_add"] * torch.inf), "must lie in"),
    "out of range": (lambda a, t: mask(t, t["mask.l_add"] + 3), r"must lie in \[-1.0, 1.0\]"),
    "unknown by half": (
        lambda a, t: t.update(region=0 * t["mask.l_add"] - 0.5) or a.update(region=True),
        r"'region' must lie in \[0.0, 1.0\]",
    ),
    "region": (lambda a, t: t["region.1"].fill_(2), r"'region.1' must lie in \[0.0, 1.0\]"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_file_is_refused_with_the_reason(path, case):
    change, message = SPOILED[case]
    spoiled(path, change)
    with pytest.raises(ValueError, match=f"cannot open the edit .*a.opmask.*{message}"):
        Edit.load(path)


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_a_file_cut_short_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.opmask"):
        Edit.load(path)


def test_what_is_no_edit_is_refused(tmp_path, gated_model):
    opmask.save(gated_model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="it was not written by opmask as an edit"):
        Edit.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Edit.load(tmp_path / "nowhere.opmask")
    (tmp_path / "large").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(ValueError, match="header would be"):
        Edit.load(tmp_path / "large")

import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from opmask import LAB, RGB, Add, MaskRange, Mul, Retoucher
from opmask.export import load_masks, save_masks
from opmask.retouch.pixels import Enlarged


def with_names(edit, *names):
    """The edit with operators of other mask names, each of them a red shift."""

    def shift(name):
        add = Add(RGB, "r")
        add.ranges = {name: MaskRange(0.0, -1.0, 1.0)}
        return add

    masks = {name: torch.full((1, 1, 3, 4), i / 8).half() for i, name in enumerate(names)}
    retoucher = Retoucher(*map(shift, names))
    return replace(edit, predicted=masks, retoucher=retoucher, adjustments=())


def assert_close(found, wanted, tolerance):
    assert list(found) == list(wanted)
    for name, mask in wanted.items():
        torch.testing.assert_close(found[name], mask, rtol=0, atol=tolerance)


def test_a_size_that_no_photo_has_is_refused(edit, tmp_path):
    with pytest.raises(ValueError, match="at most 500,000,000 pixels, got 1000000x1000"):
        save_masks(edit, tmp_path / "masks.npz", size=(1000, 10**6))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("effective", [False, True])
def test_npz_holds_masks_to_the_bit(edit, tmp_path, effective):
    path = save_masks(edit, tmp_path / "masks.npz", effective=effective)
    assert_close(load_masks(path), edit.masks(effective), 0)
    with np.load(path) as opened:
        assert np.array_equal(opened["l_add"], edit.masks(effective)["l_add"][0, 0])


@pytest.mark.parametrize("ending", ["", ".png", ".tif", ".TIFF"])
def test_pictures_hold_masks_to_half_a_step(edit, tmp_path, ending):
    folder = save_masks(edit, tmp_path / f"masks{ending}")
    assert folder == tmp_path / "masks"
    assert_close(load_masks(folder), edit.masks(), 0.5001 / 32767)
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".json", ".tif" if ending.lower().startswith(".tif") else ".png"}


def test_pictures_have_16_bits_and_mid_grey_is_the_identity(still, tmp_path):
    folder = save_masks(still, tmp_path / "masks")
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.mode == "I;16"
            assert np.unique(np.asarray(picture)).tolist() == [32768]
    assert_close(load_masks(folder), still.masks(), 0)


def test_the_index_says_how_values_are_recovered(edit, tmp_path):
    folder = save_masks(edit, tmp_path / "masks", effective=True)
    about = json.loads((folder / "masks.json").read_text())
    assert (about["effective"], about["photo"]["sha256"]) == (True, edit.source.sha256)
    one = next(one for one in about["masks"] if one["name"] == "l_mul")
    assert (one["identity"], one["low"], one["high"]) == (1.0, 0.0, 2.0)
    levels = np.asarray(Image.open(folder / one["file"]), np.float64)
    values = one["identity"] + (levels - 32768) * one["step"]
    wanted = edit.masks(effective=True)["l_mul"][0, 0].numpy()
    np.testing.assert_allclose(values, wanted, rtol=0, atol=0.5001 * one["step"])


@pytest.mark.parametrize("size", [(120, 200), (20, 300), (1, 1)])
def test_masks_are_stretched_as_they_are_for_a_photo(edit, tmp_path, size):
    wanted = {name: Enlarged(m, size)[0 : size[0]] for name, m in edit.masks().items()}
    assert_close(load_masks(save_masks(edit, tmp_path / "a.npz", size=size)), wanted, 1e-6)
    assert_close(load_masks(save_masks(edit, tmp_path / "a.png", size=size)), wanted, 2e-5)


def test_masks_without_bounds_are_held_too(edit, tmp_path):
    wide = Mul(LAB, "l", range=MaskRange(1.0, low=0.0))
    mask = torch.linspace(0, 40, 12).view(1, 1, 3, 4).half()
    edit = replace(edit, predicted={"l_mul": mask}, retoucher=Retoucher(wide), adjustments=())
    folder = save_masks(edit, tmp_path / "masks")
    assert_close(load_masks(folder), edit.masks(), 0.5001 * 39 / 32767)
    assert json.loads((folder / "masks.json").read_text())["masks"][0]["high"] is None


NAMES = ("../../up", "a/b", "A", "a", "file", "_1_x", "con:", "é<&>", "x" * 300, "n\0l")


@pytest.mark.parametrize("ending", [".npz", ".png"])
def test_names_of_masks_that_no_file_may_have_are_kept(edit, tmp_path, ending):
    edit = with_names(edit, *NAMES)
    path = save_masks(edit, tmp_path / f"out{ending}")
    assert_close(load_masks(path), edit.masks(), 1e-4)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_is_there_is_replaced_only_when_asked(edit, still, tmp_path):
    for name in "masks.npz", "masks.png":
        path = save_masks(still, tmp_path / name)
        message = r"'path' must be a new f.* overwrite=True replaces it"
        with pytest.raises(ValueError, match=message):
            save_masks(edit, tmp_path / name)
        assert_close(load_masks(path), still.masks(), 0)
        save_masks(edit, tmp_path / name, overwrite=True)
        assert_close(load_masks(path), edit.masks(), 2e-5)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("masks.jpg", None, "must end in .npz, .png or .tif, or be a folder"),
        ("masks", (0, 4), r"'size' must be a height and a width of at least 1, got \(0, 4\)"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(edit, tmp_path, name, size, message):
    with pytest.raises(ValueError, match=message):
        save_masks(edit, tmp_path / name, size=size)
    assert not [*tmp_path.iterdir()]


# --- reading ---


def change_index(folder, **changes):
    path = folder / "masks.json"
    about = json.loads(path.read_text())
    about["masks"][0] |= changes
    path.write_text(json.dumps(about))


@pytest.mark.parametrize(
    "changes", [{"file": "../secret.png"}, {"file": "/etc/pwd"}, {"step": None}, {"step": 1e300}]
)
def test_an_index_that_leads_elsewhere_is_refused(edit, tmp_path, changes):
    folder = save_masks(edit, tmp_path / "masks")
    change_index(folder, **changes)
    with pytest.raises(ValueError, match=r"masks\.json|step"):
        load_masks(folder)


def test_pictures_of_8_bits_or_of_another_size_are_refused(edit, tmp_path):
    folder = save_masks(edit, tmp_path / "masks")
    Image.new("L", (64, 38)).save(folder / "l_mul.png")
    with pytest.raises(ValueError, match=r"l_mul\.png must be grey of 16 bits, 64x38"):
        load_masks(folder)


def test_an_npz_that_is_none_of_ours_or_damaged_is_refused(edit, tmp_path):
    np.savez(tmp_path / "other.npz", l_add=np.zeros(3))
    whole = save_masks(edit, tmp_path / "masks.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    (tmp_path / "text.npz").write_text("no zip")
    for name in "other.npz", "cut.npz", "text.npz":
        with pytest.raises(ValueError, match=f"{name}' must be as save_masks wrote it"):
            load_masks(tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.zeros((38, 64)), np.zeros((2, 2), np.float32), "nan", "pickle"]
)
def test_arrays_of_another_kind_are_refused(edit, tmp_path, array):
    path = save_masks(edit, tmp_path / "masks.npz")
    if isinstance(array, str):
        nan = np.full((38, 64), np.nan, np.float32)
        array = nan if array == "nan" else np.full((38, 64), None)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "bad.npz", "w") as new:
        for name in old.namelist():
            with new.open(name, "w") as file:
                if name == "a_add.npy":
                    np.lib.format.write_array(file, array)
                else:
                    file.write(old.read(name))
    with pytest.raises(ValueError, match=r"bad\.npz' must be as save_masks wrote it"):
        load_masks(tmp_path / "bad.npz")


def test_what_is_missing_is_said(edit, tmp_path):
    for path in tmp_path / "none", tmp_path / "none.npz":
        with pytest.raises(FileNotFoundError, match="none"):
            load_masks(path)
    folder = save_masks(edit, tmp_path / "masks")
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "gate.png").unlink()
    with pytest.raises(ValueError, match=r"gate\.png cannot be read: there is no such file"):
        load_masks(tmp_path / "copy")

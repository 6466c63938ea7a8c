import logging

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import BrokenPhotoError, IHarmony4
from opmask.perturb import Composite

NAMES = {
    "HCOCO": ["c10_4_1", "c10_4_2", "c9_1_1"],
    "HAdobe5k": ["a0001_1_1"],
    "Hday2night": ["d1048-20120628-200951_1_2"],
}


def picture(path, value, mode="RGB", size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


def plant(root, parts, flat=False):
    for subset, names in parts.items():
        folder = root if flat else root / subset
        for value, name in enumerate(names):
            picture(folder / "composite_images" / f"{name}.jpg", value)
            picture(folder / "masks" / f"{name.rsplit('_', 1)[0]}.png", value, "L")
            picture(folder / "real_images" / f"{name.rsplit('_', 2)[0]}.jpg", value + 100)
    return root


@pytest.fixture
def root(tmp_path):
    """Three of the four parts, without lists."""
    return plant(tmp_path, NAMES)


def names(root, split="test", subset=None):
    return [path.stem for path in IHarmony4(root, split, subset).paths]


def codes(plane):
    """The 8-bit values of a plane in [0, 1], which must be whole, as an array (H, W, C)."""
    assert torch.equal(plane, (plane * 255).round() / 255)
    return (plane * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def test_without_lists_it_is_all_files_with_a_warning(root, caplog):
    with caplog.at_level(logging.WARNING, "opmask"):
        assert names(root) == [name for part in NAMES.values() for name in part]
    assert "no list of the split 'test' below" in caplog.text
    assert "all 5 composites are taken" in caplog.text


def test_names_are_split_from_the_right(root):
    samples, folder = IHarmony4(root, "test", "Hday2night"), root / "Hday2night"
    real = np.array(Image.open(folder / "real_images/d1048-20120628-200951.jpg"))
    mask = np.array(Image.open(folder / "masks/d1048-20120628-200951_1.png"))
    assert samples.paths[0].stem == "d1048-20120628-200951_1_2"
    assert np.array_equal(codes(samples[0].real), real)
    assert np.array_equal(codes(samples[0].region)[..., 0], mask)


def test_images_may_have_underscores_of_their_own(tmp_path):
    plant(tmp_path, {"HFlickr": ["f_1_2_3_4"]})
    assert names(tmp_path) == ["f_1_2_3_4"]
    assert (tmp_path / "HFlickr/masks/f_1_2_3.png").exists()


def test_samples_are_between_0_and_1_and_have_no_record(root):
    sample = IHarmony4(root, "test")[0]
    files = "composite_images/c10_4_1.jpg", "real_images/c10.jpg", "masks/c10_4.png"
    for plane, name in zip(sample[:3], files, strict=True):
        expected = np.array(Image.open(root / "HCOCO" / name)).reshape(6, 8, -1)
        assert np.array_equal(codes(plane), expected)
    assert isinstance(sample, Composite)
    assert sample.applied is None


def test_the_list_of_the_root_decides_what_there_is_and_the_order(root, caplog):
    lines = ["HAdobe5k/composite_images/a0001_1_1.jpg", "", "HCOCO/composite_images/c9_1_1.jpg "]
    (root / "IHD_test.txt").write_text("\n".join(lines))
    (root / "HCOCO" / "HCOCO_test.txt").write_text("c10_4_1.jpg\n")
    assert names(root) == ["a0001_1_1", "c9_1_1"]
    assert caplog.text == ""


def test_a_part_has_its_own_list_or_its_share_of_the_roots(root):
    (root / "IHD_test.txt").write_text(
        "HAdobe5k/composite_images/a0001_1_1.jpg\nHCOCO/composite_images/c9_1_1.jpg\n"
    )
    assert names(root, subset="HCOCO") == ["c9_1_1"]
    (root / "HCOCO" / "HCOCO_test.txt").write_text("c10_4_2.jpg\r\nc10_4_1.jpg\r\nc10_4_1.jpg\r\n")
    assert names(root, subset="HCOCO") == ["c10_4_2", "c10_4_1"]


def test_lists_of_the_parts_are_joined_where_the_root_has_none(root):
    (root / "HCOCO" / "HCOCO_train.txt").write_text("c10_4_2.jpg\n")
    (root / "HAdobe5k" / "HAdobe5k_train.txt").write_text("a0001_1_1.jpg\n")
    assert names(root, "train") == ["c10_4_2", "a0001_1_1"]


def test_a_list_belongs_to_its_split(root, caplog):
    (root / "IHD_train.txt").write_text("HCOCO/composite_images/c9_1_1.jpg\n")
    assert names(root, "train") == ["c9_1_1"]
    assert caplog.text == ""
    assert len(names(root, "test")) == 5


def test_bare_names_are_found_by_their_first_letter(root):
    (root / "IHD_test.txt").write_text("d1048-20120628-200951_1_2.jpg\nc9_1_1.jpg\n")
    assert names(root) == ["d1048-20120628-200951_1_2", "c9_1_1"]


def test_bare_names_are_found_in_one_folder_of_all_parts(tmp_path):
    plant(tmp_path, NAMES, flat=True)
    (tmp_path / "IHD_test.txt").write_text("c9_1_1.jpg\na0001_1_1.jpg\n")
    assert names(tmp_path) == ["c9_1_1", "a0001_1_1"]


def test_other_folders_of_that_layout_are_parts_on_request(tmp_path):
    plant(tmp_path, {"mine": ["e1_1_1"], "HCOCO": ["c1_1_1"]})
    assert names(tmp_path) == ["c1_1_1"]
    assert names(tmp_path, subset="mine") == ["e1_1_1"]


def test_missing_files_are_counted_and_named(root):
    (root / "HCOCO/masks/c10_4.png").unlink()
    (root / "HCOCO/real_images/c9.jpg").unlink()
    match = r"in which 2 of 13 files are missing, such as .*c10_4.png, .*c9.jpg\."
    with pytest.raises(FileNotFoundError, match=match):
        IHarmony4(root, "test")


def test_a_list_of_places_elsewhere_is_refused_as_any_other(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    (root / "IHD_test.txt").write_text(f"{other}/composite_images/c1_2_3.jpg\n")
    with pytest.raises(
        FileNotFoundError, match=r"3 of 3 files are missing, such as \.\./.*c1_2_3"
    ):
        IHarmony4(root, "test")


def test_a_composite_that_only_the_list_knows_is_missing(root):
    (root / "IHD_test.txt").write_text("HCOCO/composite_images/c10_4_7.jpg\n")
    with pytest.raises(
        FileNotFoundError, match=r"1 of 3 files are missing, such as .*c10_4_7.jpg"
    ):
        IHarmony4(root, "test")


def test_names_of_another_form_are_refused(tmp_path):
    picture(tmp_path / "HCOCO/composite_images/c1_2.jpg", 0)
    with pytest.raises(ValueError, match=r"must be named <image>_<mask>_<variant>.jpg, got 'c1_2"):
        IHarmony4(tmp_path, "test")


def test_other_splits_and_empty_folders_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"'split' must be one of \('train', 'test'\), got 'val'"):
        IHarmony4(root, "val")
    with pytest.raises(FileNotFoundError, match=r"got none, and no list IHD_test.txt"):
        IHarmony4(root, "test", "HFlickr")


def test_a_mask_of_another_size_is_resized_by_nearest_neighbour(root):
    mask = np.zeros((3, 4), np.uint8)
    mask[1, 2] = 255
    Image.fromarray(mask).save(root / "HAdobe5k/masks/a0001_1.png")
    region = codes(IHarmony4(root, "test", "HAdobe5k")[0].region)[..., 0]
    assert np.array_equal(region, np.kron(mask, np.ones((2, 2), np.uint8)))


@pytest.mark.parametrize("size", [(9, 6), (8, 7), (6, 8)])
def test_a_mask_of_another_shape_is_refused(root, size):
    Image.new("L", size).save(root / "HAdobe5k/masks/a0001_1.png")
    match = (
        rf"a0001_1.png must have the aspect ratio of its composite, 6x8, .* {size[1]}x{size[0]}"
    )
    with pytest.raises(BrokenPhotoError, match=match):
        IHarmony4(root, "test", "HAdobe5k")[0]


def test_a_real_image_of_another_size_is_refused(root):
    picture(root / "HAdobe5k/real_images/a0001.jpg", 0, size=(16, 12))
    match = r"a0001.jpg must have the size of its composite, 6x8, got 12x16"
    with pytest.raises(BrokenPhotoError, match=match):
        IHarmony4(root, "test", "HAdobe5k")[0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_masks_of_every_mode_are_white_inside(root, mode):
    mask = Image.new("RGB", (8, 6))
    mask.paste((255, 255, 255), (2, 1, 5, 4))
    mask.convert(mode).save(root / "HAdobe5k/masks/a0001_1.png")
    region = IHarmony4(root, "test", "HAdobe5k")[0].region
    expected = torch.zeros(1, 6, 8)
    expected[:, 1:4, 2:5] = 1
    assert torch.equal(region, expected)


def test_masks_of_0_and_1_palettes_of_labels_and_cut_outs_are_white_inside(root):
    path = root / "HAdobe5k/masks/a0001_1.png"
    expected = torch.zeros(1, 6, 8)
    expected[:, 1:4, 2:5] = 1
    numbers = expected[0].numpy().astype(np.uint8)
    labels = Image.frombytes("P", (8, 6), numbers.tobytes())
    labels.putpalette([0, 0, 0, 128, 0, 0])
    cut_out = Image.open(root / "HAdobe5k/real_images/a0001.jpg")
    cut_out.putalpha(Image.fromarray(255 * numbers))
    for mask in Image.fromarray(numbers), labels, cut_out:
        mask.save(path)
        assert torch.equal(IHarmony4(root, "test", "HAdobe5k")[0].region, expected)


@pytest.mark.parametrize("spoil", ["labels", "colours"])
def test_a_mask_that_does_not_say_where_the_region_is_is_named(root, spoil):
    path = root / "HAdobe5k/masks/a0001_1.png"
    if spoil == "labels":
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 3).save(path)
    else:
        picture(path, 0)
    with pytest.raises(BrokenPhotoError, match=r"a0001_1\.png must be "):
        IHarmony4(root, "test", "HAdobe5k")[0]


def test_files_that_macos_adds_are_no_composites(root):
    for folder in (root / "HCOCO").iterdir():
        for path in list(folder.iterdir()):
            (folder / f"._{path.name}").write_bytes(b"about a file")
    assert names(root, subset="HCOCO") == NAMES["HCOCO"]


def test_bicubic_resizing_is_pillows_with_a_hard_region(root):
    native, small = (IHarmony4(root, "test", size=size)[0] for size in (None, 4))
    for mine, theirs in ((small.composite, native.composite), (small.real, native.real)):
        image = Image.fromarray(codes(theirs)).resize((4, 4), Image.Resampling.BICUBIC)
        assert np.array_equal(codes(mine), image)
    binary = Image.fromarray(codes(native.region)[..., 0]).point(lambda v: 255 * (v >= 128))
    expected = binary.resize((4, 4), Image.Resampling.NEAREST)
    assert np.array_equal(codes(small.region)[..., 0], expected)


def test_bilinear_resizing_is_opencvs_also_of_the_region(root):
    native = IHarmony4(root, "test")[0]
    small = IHarmony4(root, "test", size=5, interpolation="bilinear")[0]
    for mine, theirs in zip(small[:3], native[:3], strict=True):
        expected = cv2.resize(codes(theirs), (5, 5))
        assert np.array_equal(codes(mine), expected.reshape(5, 5, -1))


def test_what_cannot_be_resized_to_is_refused(root):
    assert IHarmony4(root, "test", size=1)[0].real.shape == (3, 1, 1)
    with pytest.raises(ValueError, match="'size' must be at least 1, got 0"):
        IHarmony4(root, "test", size=0)
    with pytest.raises(ValueError, match="must be 'bicubic' or 'bilinear', got 'nearest'"):
        IHarmony4(root, "test", size=4, interpolation="nearest")


def test_the_sample_of_the_data_set_is_read(data_root):
    samples = IHarmony4(data_root / "iharmony4_sample", "test")
    names = [path.stem.split("_")[0] for path in samples.paths]
    assert names == ["c35030"] * 4 + ["a0002"] * 2
    for sample in samples:
        inside = sample.region[0] > 0.5
        error = (sample.composite - sample.real).abs().mean(0)
        assert error[inside].mean() > 3 * error[~inside].mean()


def test_composites_without_real_images_are_refused(data_root):
    with pytest.raises(FileNotFoundError, match="25 of 75 files are missing"):
        IHarmony4(data_root / "iharmony4_sample", "test", "HFlickr_composites_only")


def draw_region(root, inverted):
    """A sample of which a square was changed, and its mask."""
    pixels = np.random.default_rng(0).integers(0, 200, (6, 8, 3), np.uint8)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:5] = 255
    changed = pixels + (mask[..., None] // 255 * 40).astype(np.uint8)
    names = "composite_images/a1_1_1.png", "real_images/a1.png", "masks/a1_1.png"
    pictures = changed, pixels, 255 - mask if inverted else mask
    for name, picture in zip(names, pictures, strict=True):
        path = root / "HPng" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def test_an_inverted_mask_is_found_and_named(tmp_path):
    draw_region(tmp_path, inverted=True)
    match = r"a1_1.png must be white where .* seems inverted: .* 0.0 levels inside, 40.0 outside"
    with pytest.raises(BrokenPhotoError, match=match):
        IHarmony4(tmp_path, "test", "HPng")[0]
    sample = IHarmony4(tmp_path, "test", "HPng", inverted=True)[0]
    assert sample.region.sum() == 9
    draw_region(tmp_path, inverted=False)
    assert torch.equal(IHarmony4(tmp_path, "test", "HPng")[0].region, sample.region)
    with pytest.raises(BrokenPhotoError, match="Pass inverted=False"):
        IHarmony4(tmp_path, "test", "HPng", inverted=True)[0]


def test_real_images_have_the_ending_of_their_composites(tmp_path):
    draw_region(tmp_path, inverted=False)
    samples = IHarmony4(tmp_path, "test", "HPng")
    assert samples.paths[0].name == "a1_1_1.png"
    assert samples[0].real.shape == (3, 6, 8)


def test_each_composite_has_its_part(root, tmp_path):
    parts = ["HCOCO"] * 3 + ["HAdobe5k", "Hday2night"]
    assert IHarmony4(root, "test").subsets == parts
    flat = plant(tmp_path / "flat", NAMES, flat=True)
    (flat / "IHD_test.txt").write_text("c9_1_1.jpg\na0001_1_1.jpg\n")
    assert IHarmony4(flat, "test").subsets == ["HCOCO", "HAdobe5k"]


def test_a_missing_part_is_named_with_those_that_are_there(root):
    match = "'subset' may be HAdobe5k, HCOCO, Hday2night"
    with pytest.raises(FileNotFoundError, match=match):
        IHarmony4(root, "test", "HFlickr")
    lines = ["HCOCO/composite_images/c9_1_1.jpg", "HFlickr/composite_images/f1_1_1.jpg"]
    (root / "IHD_test.txt").write_text("\n".join(lines))
    match = "which lacks HFlickr with 1 of 2 composites. Pass subset="
    with pytest.raises(FileNotFoundError, match=match):
        IHarmony4(root, "test")
    assert names(root, subset="HCOCO") == ["c9_1_1"]

import logging

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import BrokenPhotoError
from opmask.datasets.iharmony4 import IHarmony4, resize_triple, to_sample

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
    return [triple.name for triple in IHarmony4(root, split, subset)]


def test_without_lists_it_is_all_files_with_a_warning(root, caplog):
    with caplog.at_level(logging.WARNING, "opmask"):
        assert names(root) == [name for part in NAMES.values() for name in part]
    assert "no list of the split 'test' below" in caplog.text
    assert "all 5 composites are taken" in caplog.text


def test_names_are_split_from_the_right(root):
    triple = IHarmony4(root, "test", "Hday2night")[0]
    folder = root / "Hday2night"
    real = np.array(Image.open(folder / "real_images/d1048-20120628-200951.jpg"))
    mask = np.array(Image.open(folder / "masks/d1048-20120628-200951_1.png"))
    assert triple.name == "d1048-20120628-200951_1_2"
    assert np.array_equal(triple.real.permute(1, 2, 0), real)
    assert np.array_equal(triple.region[0], mask)


def test_images_may_have_underscores_of_their_own(tmp_path):
    plant(tmp_path, {"HFlickr": ["f_1_2_3_4"]})
    assert IHarmony4(tmp_path, "test")[0].name == "f_1_2_3_4"
    assert (tmp_path / "HFlickr/masks/f_1_2_3.png").exists()


def test_items_are_8_bit_tensors(root):
    triple = IHarmony4(root, "test")[0]
    assert triple.composite.shape == triple.real.shape == (3, 6, 8)
    assert triple.region.shape == (1, 6, 8)
    assert {plane.dtype for plane in triple[:3]} == {torch.uint8}


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
    region = IHarmony4(root, "test", "HAdobe5k")[0].region[0]
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
    expected = torch.zeros(1, 6, 8, dtype=torch.uint8)
    expected[:, 1:4, 2:5] = 255
    assert torch.equal(region, expected)


def test_masks_of_0_and_1_palettes_of_labels_and_cut_outs_are_white_inside(root):
    path = root / "HAdobe5k/masks/a0001_1.png"
    expected = torch.zeros(1, 6, 8, dtype=torch.uint8)
    expected[:, 1:4, 2:5] = 255
    numbers = (expected[0] // 255).numpy()
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
    triple = IHarmony4(root, "test")[0]
    small = resize_triple(triple, 4)
    for mine, theirs in ((small.composite, triple.composite), (small.real, triple.real)):
        image = Image.fromarray(theirs.permute(1, 2, 0).numpy())
        assert np.array_equal(
            mine.permute(1, 2, 0), image.resize((4, 4), Image.Resampling.BICUBIC)
        )
    binary = Image.fromarray(triple.region[0].numpy()).point(lambda v: 255 * (v >= 128))
    assert np.array_equal(small.region[0], binary.resize((4, 4), Image.Resampling.NEAREST))
    assert small.name == triple.name


def test_bilinear_resizing_is_opencvs_also_of_the_region(root):
    triple = IHarmony4(root, "test")[0]
    small = resize_triple(triple, 5, "bilinear")
    for mine, theirs in zip(small[:3], triple[:3], strict=True):
        expected = cv2.resize(theirs.permute(1, 2, 0).numpy(), (5, 5))
        assert np.array_equal(mine.permute(1, 2, 0), expected.reshape(5, 5, -1))
    assert small.name == triple.name


def test_what_cannot_be_resized_to_is_refused(root):
    triple = IHarmony4(root, "test")[0]
    assert resize_triple(triple, 1).real.shape == (3, 1, 1)
    with pytest.raises(ValueError, match="'size' must be at least 1, got 0"):
        resize_triple(triple, 0)
    with pytest.raises(ValueError, match="must be 'bicubic' or 'bilinear', got 'nearest'"):
        resize_triple(triple, 4, "nearest")


def test_samples_are_between_0_and_1_in_the_order_of_samples(root):
    triple = IHarmony4(root, "test")[0]
    sample = to_sample(triple, 7)
    planes = sample.composite, sample.real, sample.region
    for mine, theirs in zip(planes, triple[:3], strict=True):
        assert torch.equal(mine, theirs / 255)
    assert (sample.photo, sample.applied) == (7, "")


def test_the_sample_of_the_data_set_is_read(data_root):
    triples = IHarmony4(data_root / "iharmony4_sample", "test")
    assert [t.name.split("_")[0] for t in triples] == ["c35030"] * 4 + ["a0002"] * 2
    for triple in triples:
        inside = triple.region[0] > 127
        error = (triple.composite.float() - triple.real.float()).abs().mean(0)
        assert error[inside].mean() > 3 * error[~inside].mean()


def test_composites_without_real_images_are_refused(data_root):
    with pytest.raises(FileNotFoundError, match="25 of 75 files are missing"):
        IHarmony4(data_root / "iharmony4_sample", "test", "HFlickr_composites_only")

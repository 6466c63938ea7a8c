import pytest
from PIL import Image

from opmask.datasets import ADE20K, LIP
from opmask.datasets.making import photos_by_split


def counts(source, **how):
    return {split: len(photos) for split, photos in photos_by_split(source, **how).items()}


def names(photos):
    return {photo.name for photo in photos}


def test_folders_as_ade20ks_and_lips_keep_their_splits(tmp_path, plant):
    photos = photos_by_split(plant(tmp_path / "a", "ade20k", 2))
    assert {split: type(some) for split, some in photos.items()} == {"test": ADE20K}
    photos = photos_by_split(plant(tmp_path / "b/c", "lip", 2).parent)
    assert {split: type(some) for split, some in photos.items()} == {"test": LIP}


@pytest.mark.parametrize("how", ["inside", "beside"])
def test_plain_folders_are_split_by_the_seed(tmp_path, plant, how):
    root = plant(tmp_path, "lip", 5)
    (root / "val_images").rename(root / "images")
    (root / "val_segmentations").rename(root / ("labels" if how == "inside" else "elsewhere"))
    where = {"source": root} if how == "inside" else {
        "source": root / "images", "labels": root / "elsewhere",
    }  # fmt: skip
    first, again, other = (photos_by_split(**where, test_share=0.4, seed=s) for s in (0, 0, 1))
    assert (len(first["train"]), len(first["test"])) == (3, 2)
    assert names(first["train"]) | names(first["test"]) == {f"p{n}" for n in range(5)}
    assert names(first["test"]) == names(again["test"]) != names(other["test"])
    assert counts(**where, test_share=1) == {"test": 5}


def test_photos_of_plain_folders_may_be_of_any_kind(tmp_path, plant):
    root = plant(tmp_path, "lip", 3)
    (root / "val_images").rename(root / "images")
    (root / "val_segmentations").rename(root / "labels")
    for photo, ending in zip(sorted((root / "images").iterdir()), ("png", "webp"), strict=False):
        Image.open(photo).save(photo.with_suffix(f".{ending}"))
        photo.unlink()
    assert names(photos_by_split(root, test_share=0)["train"]) == {"p0", "p1", "p2"}


def test_photos_beside_their_label_maps_are_told_from_them(tmp_path, plant):
    root = plant(tmp_path, "lip", 2)
    for label_map in (root / "val_segmentations").iterdir():
        label_map.rename(root / "val_images" / label_map.name)
    photos = photos_by_split(root / "val_images", labels=root / "val_images", test_share=0)
    assert names(photos["train"]) == {"p0", "p1"}


def test_scenes_to_test_on_are_others(tmp_path):
    photos = photos_by_split("scenes:10", test_share=0.3, seed=2, size=32)
    assert (len(photos["train"]), len(photos["test"])) == (7, 3)
    assert not names(photos["train"]) & names(photos["test"])
    assert photos["test"][0].image.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("scenes:0", "N from 1 on, got scenes:0"),
        (
            "missing",
            r"got .*missing, which is empty or missing. Name the folder of the label maps",
        ),
    ],
)
def test_what_has_none_of_the_layouts_is_refused(tmp_path, source, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        photos_by_split(source if ":" in source else tmp_path / source)
    with pytest.raises(ValueError, match=r"'test_share' must lie in \[0, 1\], got 2"):
        photos_by_split("scenes:9", test_share=2)


def test_photographs_without_label_maps_are_named(tmp_path, plant):
    root = plant(tmp_path, "lip", 2)
    (root / "val_segmentations/p1.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 photographs without a label map: p1"):
        photos_by_split(root / "val_images", labels=root / "val_segmentations")

import colorsys
import math

import pytest
import torch
from reproduction.small import people, pool
from reproduction.small.network import build
from reproduction.small.people import Colour, Skin
from skimage.color import lab2lch, rgb2lab

SKIN = 4


def skin(real=20.0, before=20.0, after=20.0, hue=50.0, **more):
    colours = Colour(40.0, real), Colour(40.0, before), Colour(hue, after)
    return Skin("a.jpg", "skin", "light", "exact", *colours)._replace(**more)


@pytest.fixture
def packed(listed_photos):
    """Photos whose names say that they show people."""
    photos = pool.pack(pool.Pool(listed_photos, "validation", size=32), listed_photos / "packed")
    photos.names = [f"people/val_images/{name}" for name in photos.names]
    return photos


def test_the_colour_of_skin_is_that_of_scikit_image():
    image = torch.tensor(colorsys.hsv_to_rgb(0.07, 0.4, 0.8)).view(1, 3, 1, 1).repeat(1, 1, 4, 4)
    image[..., 2:] = torch.rand(1, 3, 4, 2)
    where = torch.zeros(1, 4, 4, dtype=torch.bool)
    where[..., :2] = True
    (found,) = people.colours(image, where)
    _, chroma, hue = lab2lch(rgb2lab(image[0, :, 0, 0].numpy()))
    assert found == pytest.approx((math.degrees(hue), chroma), abs=0.05)


def test_hues_are_compared_around_the_circle():
    assert people.turn(Colour(-179.0, 1.0), Colour(175.0, 1.0)) == pytest.approx(6.0)
    assert people.turn(Colour(10.0, 1.0), Colour(40.0, 1.0)) == pytest.approx(30.0)


def test_skin_is_greyed_where_the_model_took_its_colour_and_not_the_change():
    assert skin(after=14.0).greyed
    assert not skin(after=16.0).greyed
    assert not skin(before=14.0, after=10.0).greyed


def test_a_line_has_the_means_of_its_photos():
    rows = [skin(before=26.0, after=14.0), skin(before=30.0, after=22.0, name="b.jpg", hue=40.0)]
    assert people.line(("skin", "light", "exact"), rows) == [
        *("skin", "light", "exact", 2, "0.0", "5.0 [0.0, 10.0]"),
        *("8.0", "4.0 [2.0, 6.0]", "0.90 [0.70, 1.10]", "50% [0%, 100%]"),
    ]


def test_the_table_has_all_kinds_first_and_untouched_photos():
    rows = [skin(), skin(kind="filters"), skin(changed="nothing", kind="untouched")]
    lines = people.table(rows).splitlines()[2:]
    titles = [" | ".join(line.split(" | ")[:4]) for line in lines]
    kinds = "all | exact | 2", "light | exact | 1", "filters | exact | 1"
    assert titles == [*(f"| skin | {kind}" for kind in kinds), "| nothing | all | exact | 1"]


def test_people_keep_the_labels_of_their_data_set(listed_photos, monkeypatch):
    root = listed_photos
    names = {"people/val_images/6.jpg": "6_labels.png", "7.png": "7_labels.png"}
    files = [pool.Files(*pair) for pair in names.items()]
    monkeypatch.setattr(people, "listed", lambda split: files if split == "validation" else [])
    photos = pool.pack(pool.Pool(root, "validation", size=24), root / "packed").subset([0, 1])
    photos.names = list(names)
    found = people.read_people(root, photos)
    assert found.names == ["people/val_images/6.jpg"]
    assert torch.equal(
        found.labels[0], torch.arange(9).view(3, 3).repeat_interleave(8, 0).repeat_interleave(8, 1)
    )
    with pytest.raises(ValueError, match="'--photos' must hold photos of people/val_images, got"):
        people.read_people(root, photos.subset([1]))


def test_labels_are_found_by_their_names(data_root):
    assert people.label_of(data_root, "skin") == 41
    assert people.label_of(data_root, "hair") == 19


def test_a_model_that_does_nothing_leaves_skin_as_the_change_made_it(packed, monkeypatch):
    monkeypatch.setattr(people, "HINTS", ("exact", "unknown"))
    monkeypatch.setattr(people, "KINDS", ("light",))
    rows = people.skins(build(8, "none").eval(), packed, SKIN)
    for row in rows:
        assert row.after == pytest.approx(row.before, abs=0.1)
    changed = {row.changed for row in rows if row.before != row.real}
    assert changed == {"skin"}
    assert len(rows) == len(packed) * (1 + 2 * 2)

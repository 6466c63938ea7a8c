import numpy as np
import pytest
import torch
from PIL import Image
from reproduction.small import boxes, pool
from reproduction.small.kinds import KINDS
from reproduction.small.network import build

import opmask
from opmask.inference.refine import EMPTY


def disc():
    """A grey picture with a blue disc, its place, and a box around it."""
    down, across = np.mgrid[:64, :64] - 32
    place = np.hypot(down, across) < 12
    picture = np.full((64, 64, 3), 120, np.uint8)
    picture += np.random.default_rng(0).integers(0, 8, picture.shape).astype(np.uint8)
    picture[place] = 20, 40, 200
    box = np.zeros((64, 64), bool)
    box[14:50, 14:50] = True
    return picture, place, box


@pytest.mark.parametrize("way", [*boxes.WAYS][2:])
def test_a_disc_in_a_box_is_found(way):
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    picture, place, box = disc()
    gate = np.where(place | (np.arange(64) == 20), 0.9, 0.1)
    found = boxes.WAYS[way](picture, box, gate)
    assert (found & place).sum() / (found | place).sum() > 0.9
    assert not (found & ~box).any()


def test_where_the_gate_is_shut_there_is_nothing_to_cut():
    picture, place, box = disc()
    assert not boxes.WAYS["GrabCut, from the gate"](picture, box, 0.0 * place).any()


def test_a_box_has_room_around_what_was_pasted():
    region = torch.zeros(1, 50, 100, dtype=torch.bool)
    region[0, 20:30, 3:40] = True
    wanted = torch.zeros(1, 50, 100)
    wanted[0, 14:36, :46] = 1
    assert torch.equal(boxes.around(region), wanted)


def test_composites_of_people_are_tried_with_each_way(tmp_path):
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    picture, place, _ = disc()
    for folder, array in ("composite_images", picture), ("masks", np.uint8(255 * place)):
        (tmp_path / "real_composites" / folder).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "real_composites" / folder / "a.png")
    model = build(8, "none").eval()
    names, found = boxes.pasted_overlaps(model, tmp_path / "real_composites", 64)
    assert (names, [*found]) == (["a"], [*boxes.WAYS])
    assert found["GrabCut"][0] > 0.8 > found["the box itself"][0]


@pytest.mark.slow
@pytest.mark.filterwarnings(f"ignore:{EMPTY}")
def test_ways_stand_beside_each_other(listed_photos, monkeypatch, capsys):
    packed = listed_photos / "packed"
    pool.pack(pool.Pool(listed_photos, "train", size=64), packed)
    path = listed_photos / "model.safetensors"
    torch.manual_seed(0)
    opmask.save(build(8, "none").eval(), path)
    arguments = ["boxes.py", str(path), "--photos", str(packed), "--size", "64"]
    monkeypatch.setattr("sys.argv", arguments)
    boxes.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"| IoU | mixed | {' | '.join(KINDS)} |"
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:8]] == [*boxes.WAYS]
    assert lines[2].split(" | ")[1:] == lines[3].split(" | ")[1:]  # untrained, it finds nothing
    for hint, rows in ("boxes", lines[-9:-6]), ("scribbles", lines[-3:]):
        assert f"| {hint}, refined | mixed | {' | '.join(KINDS)} |" in lines
        assert [line.split(" | ")[0].strip("| ") for line in rows] == [*boxes.REFINE]
        assert all(line.count("1.000, +0.00") == 1 + len(KINDS) for line in rows)

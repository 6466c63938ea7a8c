import copy
import hashlib
import json
import os
import pickle
import re
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from opmask.perturb import Cube, PerturbationRecord, RegionChange


def write(path, size, colors, *head):
    """A .cube file of a function of red, green and blue, each in [0, 1]."""
    axis = np.linspace(0, 1, size)
    rows = [colors(r, g, b) for b in axis for g in axis for r in axis]
    lines = [*head, f"LUT_3D_SIZE {size}", *(" ".join(f"{x:.9f}" for x in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def identity(r, g, b):
    return r, g, b


def look(r, g, b):
    """A bent table that treats the channels differently and leaves [0, 1]."""
    return (
        1.2 * r**0.6 - 0.1 * g * b,
        g**2 * (1 - 0.3 * r) + 0.1 * b,
        0.9 * b + 0.3 * np.sin(4 * r),
    )


def all_levels():
    """Every level of each channel, against three levels of the others."""
    level = torch.arange(256, dtype=torch.uint8)
    rows = [torch.stack(torch.broadcast_tensors(level, *map(torch.tensor, (a, b))))
            for a in (0, 77, 255) for b in (0, 130, 255)]  # fmt: skip
    image = torch.stack(rows, 1).to(torch.uint8)
    return torch.cat([image, image.roll(1, 0), image.roll(2, 0)], 1)


def tetrahedral(pixel, table, size, low=0.0, high=1.0):
    """The published six cases, for one pixel, written out."""
    x = np.clip((np.array(pixel) / 255 - low) / (np.array(high) - low), 0, 1) * (size - 1)
    i, j, k = cell = np.minimum(x.astype(int), size - 2)
    r, g, b = x - cell

    def at(dr, dg, db):
        return np.array(table[(i + dr) + size * (j + dg) + size**2 * (k + db)])

    black, white = at(0, 0, 0), at(1, 1, 1)
    if r >= g >= b:
        mixed = (1 - r) * black + (r - g) * at(1, 0, 0) + (g - b) * at(1, 1, 0) + b * white
    elif r >= b >= g:
        mixed = (1 - r) * black + (r - b) * at(1, 0, 0) + (b - g) * at(1, 0, 1) + g * white
    elif b >= r >= g:
        mixed = (1 - b) * black + (b - r) * at(0, 0, 1) + (r - g) * at(1, 0, 1) + g * white
    elif b >= g >= r:
        mixed = (1 - b) * black + (b - g) * at(0, 0, 1) + (g - r) * at(0, 1, 1) + r * white
    elif g >= b >= r:
        mixed = (1 - g) * black + (g - b) * at(0, 1, 0) + (b - r) * at(0, 1, 1) + r * white
    else:
        mixed = (1 - g) * black + (g - r) * at(0, 1, 0) + (r - b) * at(1, 1, 0) + b * white
    return np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)


def rows(path):
    lines = path.read_text().splitlines()
    return [tuple(map(float, line.split())) for line in lines if line[0] in "-.0123456789"]


@pytest.mark.parametrize("size", [2, 3, 16, 17, 33])
def test_an_identity_table_is_exact_on_every_level(tmp_path, size):
    image = all_levels()
    assert torch.equal(Cube(write(tmp_path / "i.cube", size, identity))(image), image)


@pytest.mark.parametrize(("size", "head"), [
    (2, []), (5, []), (16, []),
    (5, ["DOMAIN_MIN 0.1 0 0.2", "DOMAIN_MAX 0.9 1.0 2"]),
])  # fmt: skip
def test_a_table_equals_a_plain_loop_over_the_pixels(tmp_path, size, head):
    path = write(tmp_path / "l.cube", size, look, *head)
    image = torch.randint(0, 256, (3, 23, 31), dtype=torch.uint8)
    domain = ((0.1, 0, 0.2), (0.9, 1, 2)) if head else (0.0, 1.0)
    table = rows(path)
    expected = [tetrahedral(p, table, size, *domain) for p in image.flatten(1).T.tolist()]
    assert torch.equal(Cube(path)(image).flatten(1).T, torch.from_numpy(np.stack(expected)))


def test_a_fine_table_is_as_pillow_s_trilinear_one(tmp_path):
    path = write(tmp_path / "l.cube", 33, look)
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    table = ImageFilter.Color3DLUT(33, rows(path))
    pillow = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).filter(table))
    difference = Cube(path)(image).permute(1, 2, 0).int() - torch.from_numpy(pillow).int()
    assert difference.abs().max() <= 1


def test_greys_depend_on_the_greys_of_the_table_only(tmp_path):
    def colorful(r, g, b):
        return (r, g, b) if r == g == b else (1, 0, 1)

    grey = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    assert torch.equal(Cube(write(tmp_path / "g.cube", 9, colorful))(grey), grey)


@pytest.mark.parametrize(
    "head", [["DOMAIN_MIN 0.2 0.2 0.2", "DOMAIN_MAX 0.6 0.6 0.6"], ["LUT_3D_INPUT_RANGE 0.2 0.6"]]
)
def test_the_domain_is_where_the_table_lies(tmp_path, head):
    cube = Cube(write(tmp_path / "d.cube", 2, identity, *head))
    image = torch.tensor([0, 51, 102, 153, 255], dtype=torch.uint8).expand(3, 1, 5)
    assert cube(image)[0, 0].tolist() == [0, 0, 128, 255, 255]


def test_comments_titles_blank_lines_and_marks_are_passed_over(tmp_path):
    path = write(
        tmp_path / "c.cube", 2, identity, '\ufeffTITLE "0.1 0.2 0.3"', "# 1 2 3", "", "#x"
    )
    path.write_text(path.read_text().replace("\n", " \r\n"))
    image = all_levels()
    assert torch.equal(Cube(path)(image), image)


def test_titles_in_any_encoding_are_passed_over(tmp_path):
    path = write(tmp_path / "t.cube", 2, identity, "TITLE x")
    path.write_bytes(path.read_bytes().replace(b"TITLE x", b'TITLE "\xe9t\xe9"'))
    assert Cube(path)(torch.zeros(3, 1, 1, dtype=torch.uint8)).max() == 0


def test_values_beyond_white_and_black_are_clipped(tmp_path):
    cube = Cube(write(tmp_path / "v.cube", 2, lambda r, g, b: (2 * r - 0.5, g - 2, b + 2)))
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(3, 1, 3)
    assert cube(image)[:, 0].tolist() == [[0, 128, 255], [0, 0, 0], [255, 255, 255]]


GOOD = ["LUT_3D_SIZE 2", *["0 0.5 1"] * 8]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*GOOD[:4], "0 1", *GOOD[5:]], "3 finite numbers .*, got '0 1' in line 5 of"),
        ([*GOOD[:4], "0 1 2 3", *GOOD[5:]], "3 finite numbers .*, got '0 1 2 3' in line 5 of"),
        ([*GOOD[:4], "0 1,5 2", *GOOD[5:]], "3 finite numbers .*, got '0 1,5 2' in line 5 of"),
        ([*GOOD[:8], "nan 0 0"], "3 finite numbers .*, got 'nan 0 0' in line 9 of"),
        ([*GOOD[:8], "0 0 -inf"], "3 finite numbers .*, got '0 0 -inf' in line 9 of"),
        (["", "DOMAIN_MIN 0 0", *GOOD], "3 finite numbers .*, got '0 0' in line 2 of"),
        (["DOMAIN_MAX 1 1 x", *GOOD], "3 finite numbers .*, got '1 1 x' in line 1 of"),
        (["LUT_3D_INPUT_RANGE 0", *GOOD], "2 finite numbers .*, got '0' in line 1 of"),
        (["#", "LUT_1D_SIZE 3"], "with a 3-D table, got LUT_1D_SIZE in line 2 of .*, which"),
        (["LUT_3D_SIZE 1"], "LUT_3D_SIZE must be an integer in 2-256, got '1' in line 1 of"),
        (["LUT_3D_SIZE 257"], "LUT_3D_SIZE must be an integer in 2-256, got '257' in line 1 of"),
        (["LUT_3D_SIZE 1" + "0" * 5000], "LUT_3D_SIZE must be .*, got '10000.* in line 1 of"),
        (["LUT_3D_SIZE \u0662"], "LUT_3D_SIZE must be an integer in 2-256"),
        (["LUT_3D_SIZE -2"], "LUT_3D_SIZE must be an integer in 2-256"),
        (["0 " * 20_000], "got a line of 10000 characters in"),
        (["LUT_3D_SIZE 2 2"], "LUT_3D_SIZE must be an integer in 2-256, got '2 2' in line 1 of"),
        (["LUT_3D_SIZE 2.0"], "LUT_3D_SIZE must be an integer in 2-256, got '2.0' in line 1 of"),
        (GOOD[:-1], "with 8 rows, as LUT_3D_SIZE is 2, got 7 rows in"),
        ([*GOOD, "0 0 0"], "with 8 rows, as LUT_3D_SIZE is 2, got 9 rows in"),
        (GOOD[1:], "with a line LUT_3D_SIZE, got 8 rows in"),
        ([], "with a line LUT_3D_SIZE, got 0 rows in"),
        (["DOMAIN_MIN 0 1 0", *GOOD], r"domain that rises, got \(0.0, 1.0, 0.0\) to \(1.0, 1.0"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_the_line(tmp_path, lines, message):
    path = tmp_path / "bad.cube"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message) as error:
        Cube(path)
    assert str(path) in str(error.value)


def test_a_size_of_256_points_is_accepted(tmp_path):
    path = tmp_path / "big.cube"
    path.write_text("LUT_3D_SIZE 256\n0 0 0")
    with pytest.raises(ValueError, match="with 16777216 rows, as LUT_3D_SIZE is 256, got 1 rows"):
        Cube(path)


def test_a_device_a_pipe_and_a_folder_are_refused_instead_of_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.cube")
    for path in ("/dev/zero", tmp_path / "pipe.cube", tmp_path):
        with pytest.raises(ValueError, match="must be a file"):
            Cube(path)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "large.cube").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(ValueError, match="must be at most 1073741824 bytes, got 1099511627776"):
        Cube(tmp_path / "large.cube")


def test_a_table_takes_little_more_memory_than_its_numbers(tmp_path):
    path = tmp_path / "fine.cube"
    path.write_text("LUT_3D_SIZE 32\n" + "0.25 0.5 0.75\n" * 32**3)
    tracemalloc.start()
    Cube(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 24 * 32**3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.cube"):
        Cube(tmp_path / "none.cube")


def test_records_hold_the_file_and_its_checksum(tmp_path):
    path = write(tmp_path / "l.cube", 3, look)
    cube = Cube(path)
    assert cube.to_dict() == {"cube": str(path), "sha256": cube.sha256}
    assert cube.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    applied = PerturbationRecord(1, (RegionChange(2, (cube,)),))
    assert json.loads(applied.to_json())["regions"][0]["perturbations"] == [cube.to_dict()]
    assert PerturbationRecord.from_json(applied.to_json()) == applied


def test_a_file_that_was_changed_is_noticed(tmp_path):
    path = write(tmp_path / "l.cube", 3, look)
    text = PerturbationRecord(1, (RegionChange(2, (Cube(path),)),)).to_json()
    before = Cube(path)
    write(path, 3, identity)
    message = (
        f"'path' must be the file with the checksum {before.sha256}, got {re.escape(str(path))}"
    )
    with pytest.raises(ValueError, match=message + " with [0-9a-f]{64}. It was changed"):
        Cube(path, before.sha256)
    with pytest.raises(ValueError, match=message):
        PerturbationRecord.from_json(text)
    assert Cube(path) != before


def test_a_changed_file_is_read_anew(tmp_path):
    image = all_levels()
    changed = Cube(write(tmp_path / "l.cube", 3, look))(image)
    assert torch.equal(Cube(write(tmp_path / "l.cube", 3, identity))(image), image)
    assert not torch.equal(changed, image)


def test_cubes_are_values_and_pickle_without_their_table(tmp_path):
    path = write(tmp_path / "l.cube", 17, look)
    cube, image = Cube(path), all_levels()
    pickled = pickle.dumps(cube)
    assert len(pickled) < 1000
    for other in (pickle.loads(pickled), copy.deepcopy(cube), Cube(str(path), cube.sha256)):
        assert other == cube
        assert hash(other) == hash(cube)
        assert torch.equal(other(image), cube(image))
    assert repr(cube) == f"Cube(path={str(path)!r}, sha256={cube.sha256!r})"


def test_cubes_do_not_write_into_their_input_and_check_it(tmp_path):
    cube = Cube(write(tmp_path / "l.cube", 3, look))
    image = all_levels()
    before = image.clone()
    assert cube(image).shape == image.shape
    assert torch.equal(image, before)
    with pytest.raises(TypeError, match="'image' must be 8-bit"):
        cube(torch.rand(3, 2, 2))
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \(1, 3, 2, 2"):
        cube(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.gpu
def test_cubes_are_the_same_on_a_gpu(tmp_path):
    cube = Cube(write(tmp_path / "l.cube", 17, look))
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    on_gpu = cube(image.cuda())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), cube(image))

import json

import icc_profiles
import numpy as np
import pytest
import torch
from PIL import Image

from opmask import LAB, Add, Operator, OperatorMaskWrapper, Photo, Retoucher, plan
from opmask.backbones import SmallUNet
from opmask.export import to_cube
from opmask.export.tables import fit_table, lattice, look_up
from opmask.perturb import Cube

P3 = icc_profiles.profile(icc_profiles.P3, icc_profiles.SRGB_CURVE)


def psnr(a, b):
    return -10 * np.log10(np.square(np.float64(a) - np.float64(b)).mean() / 255**2)


def blended(folder, pixels):
    """8-bit pixels with the tables and masks of a folder, by code that is not the exporter's."""
    image = np.float64(pixels)
    for region in json.loads((folder / "cube.json").read_text())["regions"]:
        levels = torch.from_numpy(np.rint(image).astype(np.uint8)).permute(2, 0, 1)
        table = Cube(folder / region["table"])(levels).permute(1, 2, 0).numpy()
        mask = np.asarray(Image.open(folder / region["mask"]), np.float64)[..., None] / 65535
        image += mask * (table - image)
    return np.rint(image)


@pytest.fixture(scope="module")
def made(edit, photo, tmp_path_factory):
    return to_cube(edit, photo, tmp_path_factory.mktemp("tables") / "look.cube")


def test_there_is_a_table_and_a_mask_for_each_region(made):
    assert made.folder.name == "look"
    names = {path.name for path in made.folder.iterdir()}
    parts = {f"region-{i}.{end}" for i in (1, 2) for end in ("cube", "png")}
    assert names == {"cube.json", *parts}
    assert len(made.regions) == 2


def test_tables_with_masks_come_close_to_the_rendered_photo(made):
    assert made.untouched < 25
    assert made.psnr > 39


def test_the_psnr_is_that_of_the_files_in_other_hands(edit, photo, made):
    before, after = (x.permute(1, 2, 0).numpy() for x in (photo, edit.render(photo)))
    assert psnr(before, after) == pytest.approx(made.untouched, abs=1e-3)
    # Cube rounds to 8 bits between the table and the mask.
    assert psnr(blended(made.folder, before), after) == pytest.approx(made.psnr, abs=0.5)


def test_the_index_says_what_was_made(made):
    about = json.loads((made.folder / "cube.json").read_text())
    assert (about["psnr"], about["untouched"]) == (made.psnr, made.untouched)
    assert [one["change"] for one in about["regions"]] == [one.sentence for one in made.regions]


def test_a_table_reads_as_the_format_says(made):
    lines = (made.folder / "region-1.cube").read_text().splitlines()
    assert lines[0] == f"# {made.regions[0].sentence}"
    assert lines[1:5] == [
        'TITLE "region 1"', "LUT_3D_SIZE 33", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"
    ]  # fmt: skip
    rows = np.loadtxt(lines[5:])
    assert rows.shape == (33**3, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1


def test_masks_are_grey_of_16_bits_at_the_size_of_the_photo(made):
    for i in (1, 2):
        with Image.open(made.folder / f"region-{i}.png") as mask:
            assert (mask.mode, mask.size) == ("I;16", (200, 120))
            levels = np.asarray(mask)
    assert (levels[40:80, 170:] > 60000).all()
    assert (levels[:, :100] == 0).all()


def test_a_retouch_that_is_the_same_everywhere_is_a_table_alone(still, photo, tmp_path):
    edit = still.adjust("l_mul", offset=-0.4).adjust("b_add", offset=0.2)
    made = to_cube(edit, photo, tmp_path / "a")
    assert made.psnr > 45
    levels = np.asarray(Image.open(made.folder / "region-1.png"))
    assert (levels > 60000).mean() > 0.95


@pytest.mark.parametrize(("size", "gain"), [(2, 3), (9, 10), (17, 15)])
def test_tables_of_other_sizes_are_fitted(edit, photo, tmp_path, size, gain):
    made = to_cube(edit, photo, tmp_path / "a", size=size)
    assert made.psnr > made.untouched + gain
    Cube(made.folder / "region-1.cube")


def test_a_region_that_is_changed_in_opposite_ways_still_gets_a_table(still, photo, tmp_path):
    area = torch.zeros(120, 200)
    area[:60] = 1
    edit = still.adjust("b_add", offset=0.3, region=area).adjust(
        "b_add", offset=-0.3, region=1 - area
    )
    assert to_cube(edit, photo, tmp_path / "a").psnr > 25


@pytest.mark.parametrize("kind", ["grey", "float", "16 bits, P3", "alpha"])
def test_pictures_of_all_kinds_are_exported(edit, photo, tmp_path, kind):
    array = photo.permute(1, 2, 0).contiguous().numpy()
    pictures = {
        "grey": Photo(array[..., :1].copy()),
        "float": photo / 255,
        "16 bits, P3": Photo(array.astype(np.uint16) * 257, P3),
        "alpha": Image.fromarray(np.concatenate([array, array[..., :1]], -1)),
    }
    made = to_cube(edit, pictures[kind], tmp_path / "a", force=True)
    assert made.psnr > made.untouched + 15


def test_what_is_there_is_replaced_only_when_asked(edit, photo, still, tmp_path):
    folder = to_cube(edit, photo, tmp_path / "a", size=5).folder
    with pytest.raises(ValueError, match=r"new folder, got .*overwrite=True replaces it"):
        to_cube(edit, photo, folder)
    brighter = still.adjust("l_add", offset=0.2)
    to_cube(brighter, photo, folder, size=5, overwrite=True)
    assert len([*folder.iterdir()]) == 3


def test_an_edit_without_a_visible_region_is_refused(still, photo, tmp_path):
    with pytest.raises(ValueError, match="'edit' must change a region visibly"):
        to_cube(still, photo, tmp_path / "a")
    assert not [*tmp_path.iterdir()]


class Shift(Operator):
    """An operator that looks at a neighbour."""

    def __init__(self):
        super().__init__()
        self.space, self.ranges = LAB, Add(LAB, "l").ranges

    def forward(self, image, mask):
        return image + mask * (image.roll(1, -1) - image)


def test_operators_that_look_at_neighbours_are_refused(photo, tmp_path):
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Shift())).eval()
    with pytest.raises(ValueError, match="'edit' must have operators that look at single pixels"):
        to_cube(plan(model, photo).adjust(offset=1), photo, tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("a.3dl", 33, r"'path' must end in \.cube or be a folder"),
        ("a", 1, "'size' must be from 2 to 129, got 1"),
        ("a", 130, "'size' must be from 2 to 129, got 130"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(edit, photo, tmp_path, name, size, message):
    with pytest.raises(ValueError, match=message):
        to_cube(edit, photo, tmp_path / name, size=size)


def test_another_photo_is_refused(edit, photo, tmp_path):
    with pytest.raises(ValueError, match="must be the photo that the edit was planned for"):
        to_cube(edit, photo // 2, tmp_path / "a")


# --- tables ---


def test_colours_are_looked_up_as_cube_does(tmp_path):
    table = (lattice(5) + 0.2 * torch.rand(125, 3)).clamp(0, 1).double()
    rows = "\n".join(" ".join(map(repr, row)) for row in table.tolist())
    (tmp_path / "a.cube").write_text(f"LUT_3D_SIZE 5\n{rows}")
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    wanted = Cube(tmp_path / "a.cube")(image)
    found = look_up(table, image.flatten(1).T.double() / 255) * 255
    assert (found.T.view(3, 40, 50) - wanted).abs().max() <= 0.5001


def test_a_fit_weighs_colours_by_their_strength():
    before = torch.rand(4000, 3)
    strength = torch.rand(4000, 1)
    after = before + strength * (0.8 * before + 0.1 - before)
    table = fit_table(lattice(9), before, after, strength)
    torch.testing.assert_close(table, 0.8 * lattice(9) + 0.1, rtol=0, atol=0.02)


def test_where_there_are_no_pixels_the_first_table_stays():
    start = 0.5 * lattice(9)
    table = fit_table(start, torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 1))
    torch.testing.assert_close(table, start)

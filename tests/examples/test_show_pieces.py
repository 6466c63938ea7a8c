import pytest
import show_pieces
import torch
from PIL import Image
from reproduction.small.network import build
from show_harmonized import Example

import opmask


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(8, "lite0", finder=True).eval().backbone


def example():
    image = torch.rand(3, 64, 64)
    image[:, :, 32:] *= 0.2
    regions = torch.zeros(64, 64, dtype=torch.int64)
    regions[16:48, 32:48] = 1
    return Example(image, regions, {})


def test_pieces_are_outlined_where_another_one_begins():
    labels = torch.tensor([[[0, 0], [0, 1]]])
    found = show_pieces.borders(labels, 4)
    expected = torch.zeros(1, 4, 4, dtype=torch.bool)
    expected[0, 1, 2:], expected[0, 2:, 1] = True, True
    assert torch.equal(found, expected)


def test_a_row_holds_pieces_and_what_is_found_told_nothing_and_told_a_box(network):
    pictures = show_pieces.panel_row(network, example()).images
    assert [p.shape[-2:] for p in pictures.values()] == 6 * [(64, 64)]
    assert pictures["what was changed"].sum() == 32 * 16
    assert (pictures["pieces"] != pictures["composite"]).any()
    bright = (pictures["boxes"] == pictures["composite"]).all(0).float()
    assert bright[16:48, 32:48].mean() > 0.7 > 0.5 > bright.mean()


def test_a_model_without_pieces_is_refused(tmp_path):
    opmask.save(build(8, "none"), tmp_path / "plain.safetensors")
    with pytest.raises(SystemExit, match="'--model' must be a RegionUNet with a finder"):
        show_pieces.main(
            ["--model", f"{tmp_path}/plain.safetensors", "--out", f"{tmp_path}/p.png"]
        )


@pytest.mark.slow
def test_the_picture_is_drawn(tmp_path):
    model = build(8, "lite0", finder=True)
    opmask.save(model, tmp_path / "model.safetensors")
    out = tmp_path / "pieces.png"
    show_pieces.main(["--model", f"{tmp_path}/model.safetensors", "--out", f"{out}"])
    with Image.open(out) as picture:
        assert picture.width > picture.height > 500

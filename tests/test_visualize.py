import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from opmask.visualize import PanelRow, mask_to_rgb, panel_image, save_curves, save_panel
from opmask.visualize.masks import COLORS

LEFT, TOP, CELL, STEP = 10, 32, 256, 266  # where the first cell lies, and the next column's


def colors_of(*values, identity=0.0, limit=None):
    mask = torch.tensor(values).reshape(1, 1, 1, -1)
    return mask_to_rgb(mask, identity, limit)[0, :, 0].T


def row(size=64, **masks):
    generator = torch.Generator().manual_seed(size)
    image = torch.randint(0, 256, (3, size, size), generator=generator) / 255
    return PanelRow({"real": image, "region": (image[:1] > 0.5).float()}, masks)


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_identity_is_neutral_and_the_ends_are_blue_and_red():
    blue, neutral, red = colors_of(-0.5, 0.0, 0.5, limit=0.5)
    assert blue.argmax() == 2
    assert red.argmax() == 0
    torch.testing.assert_close(neutral, torch.full((3,), 0.96))


def test_colors_are_linear_between_five_stops():
    colors = colors_of(-2.0, -1.0, 0.0, 1.0, 2.0)
    torch.testing.assert_close(colors, torch.tensor(COLORS))
    between = colors_of(-1.5, -0.5, 0.5, 1.5, limit=2.0)
    torch.testing.assert_close(between, (colors[1:] + colors[:-1]) / 2)


def test_colors_are_measured_from_the_identity():
    torch.testing.assert_close(colors_of(0.5, 1.0, 1.5, identity=1.0), colors_of(-0.5, 0.0, 0.5))


def test_the_default_limit_is_the_largest_offset_of_the_batch():
    mask = torch.tensor([[0.1, -0.1], [0.4, 0.2]]).reshape(2, 1, 1, 2)
    torch.testing.assert_close(mask_to_rgb(mask, 0.0), mask_to_rgb(mask, 0.0, limit=0.4))
    torch.testing.assert_close(mask_to_rgb(-mask, 0.0), mask_to_rgb(-mask, 0.0, limit=0.4))


def test_values_beyond_the_limit_have_the_color_of_the_limit():
    torch.testing.assert_close(colors_of(-9.0, 9.0, limit=1.0), colors_of(-1.0, 1.0))


def test_a_mask_at_its_identity_is_neutral_without_a_limit():
    torch.testing.assert_close(colors_of(1.0, 1.0, identity=1.0), torch.full((2, 3), 0.96))


def test_masks_of_a_training_step_can_be_colored():
    picture = mask_to_rgb(torch.rand(2, 1, 4, 5).bfloat16().requires_grad_(), 0.5)
    assert (picture.shape, picture.dtype) == ((2, 3, 4, 5), torch.float32)
    assert not picture.requires_grad


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 3, 4, 4)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"'mask' must have shape \(B, 1, H, W\)"):
        mask_to_rgb(torch.zeros(shape), 0.0)


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(ValueError, match=f"'limit' must be positive, got {limit}"):
        mask_to_rgb(torch.zeros(1, 1, 4, 4), 0.0, limit)


def test_a_panel_enlarges_pixels_to_sharp_squares(tmp_path):
    sample = row(64)
    save_panel([sample, sample], tmp_path / "panel.png")
    expected = (255 * sample.images["real"]).round().byte().permute(1, 2, 0).numpy()
    expected = expected.repeat(4, axis=0).repeat(4, axis=1)
    panel = read(tmp_path / "panel.png")
    for top in (TOP, TOP + STEP):
        np.testing.assert_array_equal(panel[top : top + CELL, LEFT : LEFT + CELL], expected)


def test_images_are_shown_as_large_as_is_wanted(tmp_path):
    save_panel([row(64)], tmp_path / "panel.png", cell=192)
    shown = read(tmp_path / "panel.png")[TOP : TOP + 192, LEFT : LEFT + 192]
    expected = (row(64).images["real"] * 255).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown[1::3, 1::3], expected)


def test_a_panel_has_a_column_for_each_title_and_a_row_for_each_sample(tmp_path):
    save_panel([row(64)], tmp_path / "one.png")
    save_panel([row(64), row(32), row(128)], tmp_path / "three.png")
    assert read(tmp_path / "one.png").shape == (TOP + STEP, LEFT + 2 * STEP, 3)
    assert read(tmp_path / "three.png").shape == (TOP + 3 * STEP, LEFT + 2 * STEP, 3)


def test_the_picture_for_a_notebook_is_the_one_that_is_saved(tmp_path):
    rows = [PanelRow({"real": torch.rand(3, 8, 12)}, {"l_add": torch.rand(1, 8, 12)})]
    save_panel(rows, tmp_path / "panel.png", cell=90)
    shown = panel_image(rows, cell=90)
    assert shown.mode == "RGB"
    assert shown == Image.open(tmp_path / "panel.png").convert("RGB")


def test_rows_share_the_scale_of_a_mask(tmp_path):
    weak, strong = (row(64, l_add=torch.full((1, 64, 64), value)) for value in (0.1, -0.2))
    save_panel([weak, strong], tmp_path / "panel.png")
    x, y = LEFT + 2 * STEP + 24 + CELL // 2, TOP + CELL // 2
    panel = read(tmp_path / "panel.png")
    expected = (255 * torch.tensor([COLORS[3], COLORS[0]])).round()
    found = np.stack([panel[y, x], panel[y + STEP, x]]).astype(float)
    np.testing.assert_allclose(found, expected.numpy(), atol=1)


def test_a_given_limit_is_that_of_all_masks(tmp_path):
    sample = row(64, l_add=torch.full((1, 64, 64), 0.1))
    save_panel([sample], tmp_path / "panel.png", limit=0.2)
    pixel = read(tmp_path / "panel.png")[TOP + 128, LEFT + 2 * STEP + 24 + 128]
    np.testing.assert_allclose(pixel, 255 * np.array(COLORS[3]), atol=1)


def test_the_color_bar_says_where_the_colors_end(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: write(self, path, figures))
    save_panel([row(8, l_add=torch.full((1, 8, 8), -0.25))], tmp_path / "panel.png")
    bar = figures[0].axes[-1]
    assert [tick.get_text() for tick in bar.get_xticklabels()] == ["−0.25", "0", "+0.25"]
    assert bar.get_xlim() == (-0.25, 0.25)


def write(figure, path, figures):
    figures.append(figure)
    Path(path).touch()


def test_masks_that_hold_no_number_do_not_cost_the_panel(tmp_path):
    mask = torch.tensor([torch.nan, torch.inf, 0.1, 0.0]).reshape(1, 2, 2)
    save_panel([row(8, l_add=mask, a_add=0 * mask)], tmp_path / "panel.png")
    assert read(tmp_path / "panel.png").min() == 0


def test_photos_of_mixed_shapes_and_long_titles_fit(tmp_path):
    images = [{"a model with a very long name": torch.rand(3, *s)} for s in ((300, 400), (9, 4))]
    save_panel([PanelRow(image) for image in images], tmp_path / "panel.png")
    assert read(tmp_path / "panel.png").shape == (54 + 192 + 10 + 256 + 10, 276, 3)


def test_rows_that_make_no_panel_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'rows' must hold at least one sample"):
        save_panel([], tmp_path / "panel.png")
    with pytest.raises(ValueError, match=r"'rows' must share their titles, got \['real', 'reg"):
        save_panel([row(8), PanelRow({"real": torch.rand(3, 8, 8)})], tmp_path / "panel.png")
    with pytest.raises(ValueError, match=r"'real' must have shape .* got \(1, 3, 8, 8\)"):
        save_panel([PanelRow({"real": torch.rand(1, 3, 8, 8)})], tmp_path / "panel.png")
    with pytest.raises(ValueError, match=r"'l_add' must have shape .* C in \(1,\), got \(3, 8, 8"):
        save_panel([row(8, l_add=torch.rand(3, 8, 8))], tmp_path / "panel.png")
    assert not list(tmp_path.iterdir())


def saved_axes(curves, path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: write(self, path, figures))
    save_curves(curves, path, ylabel="loss")
    return figures[0].axes[0]


def test_curves_are_drawn_as_they_are_and_smoothed(tmp_path, monkeypatch):
    values = [float(1 + i % 2) for i in range(80)]
    axes = saved_axes({"om": (range(80), values)}, tmp_path / "loss.png", monkeypatch)
    raw, smooth = (line.get_ydata() for line in axes.get_lines())
    assert list(raw) == values
    np.testing.assert_allclose(smooth[40], sum(values[38:43]) / 5)
    np.testing.assert_allclose(smooth[0], sum(values[:3]) / 3)


@pytest.mark.parametrize(("last", "scale"), [(0.1, "log"), (0.0, "linear"), (-0.1, "linear")])
def test_the_axis_is_logarithmic_if_all_values_are_positive(tmp_path, monkeypatch, last, scale):
    curves = {"rgb": ([1, 2], [0.3, 0.2]), "om": ([1, 2], [0.2, last])}
    axes = saved_axes(curves, tmp_path / "loss.png", monkeypatch)
    assert axes.get_yscale() == scale
    assert axes.get_ylabel() == "loss"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["rgb", "om"]


def test_names_stand_beside_the_curves_and_steps_are_whole(tmp_path, monkeypatch):
    axes = saved_axes({"om": ([1, 2], [0.3, 0.2])}, tmp_path / "loss.png", monkeypatch)
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
    assert all(tick == int(tick) for tick in axes.get_xticks())


def test_curves_are_written_as_a_picture(tmp_path):
    save_curves({"om": ([1, 2], [0.2, 0.1])}, str(tmp_path / "loss.png"), ylabel="loss")
    assert read(tmp_path / "loss.png").shape == (560, 900, 3)


def test_a_curve_with_missing_values_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got 1 values for 2 steps of 'om'"):
        save_curves({"om": ([1, 2], [0.2])}, tmp_path / "loss.png", ylabel="loss")


def test_a_failed_write_leaves_the_picture_before_it_and_nothing_else(tmp_path, monkeypatch):
    def full_disk(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    (tmp_path / "panel.png").write_bytes(b"before")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_panel([row(8)], tmp_path / "panel.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_pictures_are_drawn_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    save_panel([row(8)], tmp_path / "panel.png")
    assert [path.name for path in tmp_path.iterdir()] == ["panel.png"]


def test_a_missing_matplotlib_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.* pip install 'opmask\[train\]'"):
        save_panel([row(8)], tmp_path / "panel.png")

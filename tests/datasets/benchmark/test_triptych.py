import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import opmask
from opmask.datasets import BrokenPhotoError, Triptychs, read_image
from opmask.datasets.benchmark.triptych import is_whole_png, to_triptych, write_triptych
from opmask.metrics.protocols import to_uint8
from opmask.perturb import DEFAULT, REFERENCE, REFERENCE_RGB, Composite


def pixels(height=31, width=100, seed=0):
    """A triptych of noise: RGB, with a third column grey in places."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two triptychs, written in another order than sorted, beside a text file."""
    for seed, name in enumerate(("b.png", "a.PNG")):
        Image.fromarray(pixels(seed=seed)).save(tmp_path / name)
    (tmp_path / "0.txt").touch()
    return tmp_path


def sample(seed=0, height=7, width=9):
    generator = torch.Generator().manual_seed(seed)
    composite, real = torch.rand(2, 3, height, width, generator=generator) * 1.4 - 0.2
    return Composite(composite, real, torch.rand(1, height, width, generator=generator), None)


def lab(image, size):
    """The reference code's tensor: 8-bit LAB, then resized, then between -1 and 1."""
    codes = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (size, size))
    return torch.from_numpy((codes.astype(np.float32) / 255 - 0.5) / 0.5).permute(2, 0, 1)


def test_triptychs_are_real_composite_and_region():
    made = sample()
    picture = to_triptych(made).permute(1, 2, 0).numpy()
    assert np.array_equal(picture[:, :9], to_uint8(made.real))
    assert np.array_equal(picture[:, 9:18], to_uint8(made.composite))
    assert np.array_equal(picture[:, 18:], to_uint8(made.region.expand(3, -1, -1)))


def test_halves_are_rounded_up():
    half = torch.tensor([0.5, 1.5, 2.5]).reshape(3, 1, 1) / 255
    picture = to_triptych(Composite(half, half, torch.ones(1, 1, 1), None))
    assert picture[:, 0, 0].tolist() == to_uint8(half)[0, 0].tolist() == [1, 2, 3]


def test_every_8_bit_value_comes_back(tmp_path):
    image = (torch.arange(3 * 256).reshape(3, 16, 16) % 256) / 255
    region = (torch.arange(256).reshape(1, 16, 16) % 3 == 0).float()
    write_triptych(tmp_path / "a.png", Composite(image.flip(0), image, region, None))
    again = Triptychs(tmp_path)[0]
    assert torch.equal(again.real, image)
    assert torch.equal(again.composite, image.flip(0))
    assert torch.equal(again.region, region)


def test_files_come_in_the_order_of_their_names(folder):
    assert [path.name for path in Triptychs(folder).paths] == ["a.PNG", "b.png"]
    assert len(Triptychs(folder)) == 2


def test_samples_have_no_record(folder):
    assert [made.applied for made in Triptychs(folder)] == [None, None]


def test_negative_places_count_from_the_end(folder):
    assert torch.equal(Triptychs(folder)[-1].real, Triptychs(folder)[1].real)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "bmp"])
def test_other_formats_are_read_too(tmp_path, ending):
    Image.fromarray(pixels()).save(tmp_path / f"a.{ending}")
    assert Triptychs(tmp_path)[0].real.shape == (3, 31, 33)


def test_thirds_are_as_wide_as_whole_pixels_allow(folder):
    picture = pixels(seed=1)  # 100 pixels wide: a column between composite and region is left
    made = Triptychs(folder)[0]
    assert np.array_equal(to_uint8(made.real), picture[:, :33])
    assert np.array_equal(to_uint8(made.composite), picture[:, 33:66])
    assert np.array_equal(made.region[0].numpy(), picture[:, 67:, 2] >= 128)


def test_the_plain_reading_resizes_with_antialiasing_and_keeps_regions_binary(folder):
    native, small = Triptychs(folder)[0], Triptychs(folder, size=16)[0]
    for full, resized in (native.real, small.real), (native.composite, small.composite):
        expected = torch.nn.functional.interpolate(
            full[None], (16, 16), mode="bilinear", antialias=True
        )[0]
        torch.testing.assert_close(resized, expected, rtol=0, atol=1e-6)
    assert set(small.region.unique().tolist()) == {0, 1}
    expected = torch.nn.functional.interpolate(native.region[None], (16, 16), mode="nearest-exact")
    assert torch.equal(small.region, expected[0])


@pytest.mark.parametrize("size", [16, 64])
def test_the_reference_reading_is_that_of_opencv(folder, size):
    picture, made = pixels(seed=1), Triptychs(folder, REFERENCE, size=size)[0]
    for image, columns in (made.real, slice(0, 33)), (made.composite, slice(33, 66)):
        expected = lab(np.ascontiguousarray(picture[:, columns]), size)
        # The bound of the conversion to RGB and back.
        torch.testing.assert_close(
            opmask.LAB_CENTERED.from_rgb(image.double()).float(), expected, rtol=0, atol=1e-5
        )


def test_the_reference_reading_of_rgb_is_that_of_opencv(folder):
    picture, made = pixels(seed=1), Triptychs(folder, REFERENCE_RGB, size=16)[0]
    for image, columns in (made.real, slice(0, 33)), (made.composite, slice(33, 66)):
        expected = cv2.resize(np.ascontiguousarray(picture[:, columns]), (16, 16))
        assert np.array_equal(to_uint8(image), expected)
        assert torch.equal(image, (image * 255).round() / 255)


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB])
def test_the_reference_reads_soft_regions_from_the_blue_channel(folder, settings):
    blue = pixels(seed=1)[:, 67:, 2] / 255
    torch.testing.assert_close(
        Triptychs(folder, settings, size=16)[0].region[0].double(),
        torch.from_numpy(cv2.resize(blue, (16, 16))),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("settings", [DEFAULT, REFERENCE, REFERENCE_RGB])
def test_without_a_size_nothing_is_resized(folder, settings):
    made = Triptychs(folder, settings)[0]
    assert made.composite.shape == made.real.shape == (3, 31, 33)
    assert made.region.shape == (1, 31, 33)
    assert made.composite.dtype == made.real.dtype == made.region.dtype == torch.float32


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no folder .*gone\."):
        Triptychs(tmp_path / "gone")
    (tmp_path / "a.txt").touch()
    message = r"'folder' must hold triptychs \(.bmp, .jpeg, .jpg, .png\), got 1 other files in "
    with pytest.raises(FileNotFoundError, match=message):
        Triptychs(tmp_path)


def test_a_size_below_1_is_refused(folder):
    assert Triptychs(folder, size=1)[0].real.shape == (3, 1, 1)
    with pytest.raises(ValueError, match="'size' must be at least 1, got 0"):
        Triptychs(folder, size=0)


def test_pictures_too_narrow_or_damaged_are_named(tmp_path):
    Image.new("RGB", (2, 5)).save(tmp_path / "a.png")
    Image.new("RGB", (3, 5)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    write_triptych(tmp_path / "d.png", sample())
    (tmp_path / "d.png").write_bytes((tmp_path / "d.png").read_bytes()[:200])
    with pytest.raises(BrokenPhotoError, match=r"a\.png must be at least 3 pixels wide, got 2"):
        Triptychs(tmp_path)[0]
    assert Triptychs(tmp_path)[1].real.shape == (3, 5, 1)
    with pytest.raises(BrokenPhotoError, match=r"c\.png cannot be read"):
        Triptychs(tmp_path)[2]
    with pytest.raises(BrokenPhotoError, match=r"d\.png cannot be read"):
        Triptychs(tmp_path)[3]
    with pytest.raises(IndexError):
        Triptychs(tmp_path)[4]


def test_a_png_is_whole_when_it_has_its_end(tmp_path):
    path = tmp_path / "a.png"
    assert not is_whole_png(path)
    write_triptych(path, sample())
    assert is_whole_png(path)
    content = path.read_bytes()
    for length in 0, 5, len(content) // 2, len(content) - 1:
        path.write_bytes(content[:length])
        assert not is_whole_png(path)
    assert not is_whole_png(tmp_path)


def test_a_rendered_real_sample_is_read_as_it_was(data_root, tmp_path):
    image = read_image(sorted((data_root / "scenes/images/validation").iterdir())[0]) / 255
    write_triptych(tmp_path / "a.png", Composite(1 - image, image, image[:1].round(), None))
    made = Triptychs(tmp_path)[0]
    assert torch.equal(made.real, image)
    torch.testing.assert_close(made.composite, 1 - image, rtol=0, atol=1e-6)


def test_files_that_are_not_meant_are_no_triptychs(folder):
    for name in "._a.PNG", ".b.opmask-01234567.png":
        (folder / name).write_bytes(b"no picture")
    (folder / "c.png").mkdir()
    assert [path.name for path in Triptychs(folder).paths] == ["a.PNG", "b.png"]

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from opmask.losses import LPIPS
from opmask.losses.trunks import build_trunk
from opmask.metrics import average, score, to_uint8

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (24, 31, 3), dtype=np.uint8)
OUTPUT = RNG.integers(0, 256, (24, 31, 3), dtype=np.uint8)
REGION = RNG.random((24, 31)) > 0.7


def test_values_are_rounded_half_up_and_clipped():
    values = torch.tensor([-0.1, 0.49 / 255, 0.5 / 255, 127.5 / 255, 254.4 / 255, 1.3]).double()
    image = to_uint8(values.reshape(1, 1, -1).expand(3, 1, -1))
    assert image[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255]


def test_8_bit_values_survive_the_round_trip():
    for dtype in (torch.float32, torch.float64):
        values = torch.arange(256, dtype=dtype).expand(3, 1, -1) / 255
        np.testing.assert_array_equal(to_uint8(values)[0, :, 2], np.arange(256))


def test_tensors_have_channels_first_and_arrays_have_them_last():
    tensor = torch.rand(2, 3, 4, 5)
    image = to_uint8(tensor)
    assert (image.shape, image.dtype) == ((2, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(to_uint8(tensor.movedim(1, -1).numpy()), image)


def test_tensors_of_a_training_step_are_accepted():
    tensor = torch.rand(3, 4, 5).bfloat16().requires_grad_()
    np.testing.assert_array_equal(to_uint8(tensor), to_uint8(tensor.detach().float()))


def test_to_uint8_refuses_what_is_no_float_image():
    with pytest.raises(TypeError, match=r"'image' must be floating point in \[0, 1\], got uint8"):
        to_uint8(REAL)
    with pytest.raises(TypeError, match=r"'image' must be floating point .* got torch.uint8"):
        to_uint8(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"'image' must be finite"):
        to_uint8(torch.full((3, 4, 4), torch.nan))


def test_to_uint8_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"must have shape \(3, H, W\), got \(4, 4, 3\)"):
        to_uint8(torch.zeros(4, 4, 3))
    with pytest.raises(ValueError, match=r"must have shape \(H, W, 3\), got \(3, 4, 4\)"):
        to_uint8(np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match=r"must have shape \(3, H, W\), got \(3, 4\)"):
        to_uint8(torch.zeros(3, 4))


def test_the_score_of_the_full_image_equals_scikit_image():
    row = score(OUTPUT, REAL)
    assert list(row) == ["mse", "psnr", "ssim"]
    assert row["mse"] == pytest.approx(mean_squared_error(OUTPUT, REAL))
    assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(REAL, OUTPUT, data_range=255))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(OUTPUT, REAL, data_range=255, channel_axis=-1, **settings)
    assert row["ssim"] == pytest.approx(ssim, abs=1e-9)


def test_the_score_of_the_region_equals_a_plain_loop():
    row = score(OUTPUT, REAL, REGION)
    total = sum(
        (int(OUTPUT[h, w, c]) - int(REAL[h, w, c])) ** 2
        for h, w in np.argwhere(REGION).tolist()
        for c in range(3)
    )
    fmse = total / (3 * REGION.sum())
    assert list(row) == ["mse", "psnr", "ssim", "fmse", "fpsnr"]
    assert row["fmse"] == pytest.approx(fmse)
    assert row["fpsnr"] == pytest.approx(20 * np.log10(255 / np.sqrt(fmse)))


def test_the_region_leaves_the_other_values_alone():
    row, full = score(OUTPUT, REAL, REGION), score(OUTPUT, REAL)
    assert {name: row[name] for name in full} == full


def test_equal_images_have_the_papers_floor_in_the_region_too():
    row = score(REAL, REAL, REGION)
    assert (row["mse"], row["ssim"], row["fmse"]) == (0, 1, 0)
    assert row["psnr"] == row["fpsnr"] == pytest.approx(138.1308, abs=1e-4)


@pytest.mark.parametrize("factor", [1, 255, 2.0, 1.0])
def test_a_region_may_be_of_ones_or_of_255s(factor):
    region = REGION * np.asarray(factor, dtype=np.uint8 if isinstance(factor, int) else float)
    region = region / 2 if factor == 2.0 else region
    assert score(OUTPUT, REAL, region) == score(OUTPUT, REAL, REGION)


def test_a_soft_region_is_cut_at_one_half():
    region = np.where(REGION, 128, 127).astype(np.uint8)
    region[0, 0] = 255 * REGION[0, 0]
    assert score(OUTPUT, REAL, region) == score(OUTPUT, REAL, REGION)
    region = np.where(REGION, 0.51, 0.5)
    assert score(OUTPUT, REAL, region) == score(OUTPUT, REAL, REGION)


def test_views_and_read_only_arrays_are_accepted():
    output, real = OUTPUT[::-1, ::-1], REAL[::-1, ::-1]
    output.flags.writeable = False
    assert score(output, real)["mse"] == pytest.approx(score(OUTPUT, REAL)["mse"])


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    match = r"'protocol' must be one of \('opmask', 'reference', 'ih4-256', .*\), got 'dove'"
    with pytest.raises(ValueError, match=match):
        score(OUTPUT, REAL, protocol="dove")


@pytest.mark.parametrize(
    ("image", "kind"),
    [(REAL / 255, "float64"), (torch.zeros(24, 31, 3), "torch.float32"), ([[0]], "list")],
)
def test_what_is_not_8_bit_is_refused_with_the_way_out(image, kind):
    with pytest.raises(TypeError, match=f"'output' must be an 8-bit RGB array, got {kind}"):
        score(image, REAL)
    with pytest.raises(TypeError, match=r"'real' must be .* opmask.metrics.to_uint8"):
        score(OUTPUT, image)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"'output' must have shape \(H, W, 3\), got \(24, 31\)"):
        score(OUTPUT[..., 0], REAL)
    with pytest.raises(ValueError, match=r"'output' must have shape .* got \(24, 31, 2\)"):
        score(OUTPUT[..., :2], REAL)
    with pytest.raises(ValueError, match=r"'real' must have the shape .* got \(23, 31, 3\)"):
        score(OUTPUT, REAL[:-1])
    with pytest.raises(ValueError, match=r"'region' must have the height and width .* \(31, 24\)"):
        score(OUTPUT, REAL, REGION.T)


def test_an_empty_region_is_refused():
    with pytest.raises(ValueError, match=r"'region' must hold at least one pixel"):
        score(OUTPUT, REAL, np.zeros((24, 31), dtype=bool))


def test_a_region_of_one_pixel_is_enough():
    region = np.zeros((24, 31), dtype=bool)
    region[3, 4] = True
    expected = np.mean((OUTPUT[3, 4].astype(float) - REAL[3, 4]) ** 2)
    assert score(OUTPUT, REAL, region)["fmse"] == pytest.approx(expected)


def test_the_average_is_the_mean_of_each_value():
    rows = [{"mse": 1.0, "psnr": 30.0}, {"mse": 4.0, "psnr": 40.0}, {"mse": 7.0, "psnr": 38.0}]
    assert average(rows) == {"mse": 4.0, "psnr": 36.0}
    assert average(rows[:1]) == rows[0]


def test_rows_that_cannot_be_averaged_are_refused():
    with pytest.raises(ValueError, match=r"'rows' must hold the scores of at least one image"):
        average([])
    with pytest.raises(ValueError, match=r"same names, got \['mse'\] and \['mse', 'psnr'\]"):
        average([{"mse": 1.0}, {"mse": 1.0, "psnr": 30.0}])


def planes(image):
    return torch.from_numpy(image / np.float32(255)).movedim(-1, 0)[None]


def save_weights(folder, name, file):
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        f"features.{key}": value for key, value in build_trunk(name, "random").named_buffers()
    }
    torch.save(state, folder / file)


BIG_OUTPUT, BIG_REAL = RNG.integers(0, 256, (2, 33, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def networks():
    return [LPIPS(net, weights="random") for net in ("vgg", "alex")]


@pytest.mark.parametrize(("protocol", "order"), [("opmask", 1), ("reference", -1)])
def test_lpips_sees_rgb_and_in_the_reference_bgr(protocol, order, networks):
    row = score(BIG_OUTPUT, BIG_REAL, protocol=protocol, lpips=networks)
    pair = [planes(image[..., ::order].copy()) for image in (BIG_OUTPUT, BIG_REAL)]
    for network in networks:
        assert row[f"lpips_{network.net}"] == pytest.approx(network(*pair).item(), rel=1e-5)


def test_the_names_come_in_the_order_of_the_tables(networks):
    region = np.ones((33, 40), dtype=bool)
    row = score(BIG_OUTPUT, BIG_REAL, region, lpips=iter(networks))
    assert list(row) == ["mse", "psnr", "ssim", "lpips_vgg", "lpips_alex", "fmse", "fpsnr"]
    assert all(type(value) is float for value in row.values())


def test_every_reduction_of_a_network_gives_the_same_score():
    rows = [
        score(BIG_OUTPUT, BIG_REAL, lpips=[LPIPS("alex", weights="random", reduction=reduction)])
        for reduction in ("none", "mean", "sum")
    ]
    assert rows[0] == rows[1] == rows[2]


def test_the_networks_at_hand_are_those_in_the_cache_of_torchvision(torch_home, networks):
    assert "lpips_vgg" not in score(BIG_OUTPUT, BIG_REAL)
    save_weights(torch_home, "vgg16", "vgg16-397923af.pth")
    assert score(BIG_OUTPUT, BIG_REAL) == score(BIG_OUTPUT, BIG_REAL, lpips=networks[:1])
    save_weights(torch_home, "alexnet", "alexnet-owt-7be5be79.pth")
    assert score(BIG_OUTPUT, BIG_REAL) == score(BIG_OUTPUT, BIG_REAL, lpips=networks)
    assert "lpips_vgg" not in score(BIG_OUTPUT, BIG_REAL, lpips=())


def test_the_networks_at_hand_are_built_once(torch_home, monkeypatch):
    save_weights(torch_home, "alexnet", "alexnet-owt-7be5be79.pth")
    first = score(BIG_OUTPUT, BIG_REAL)
    monkeypatch.setattr("opmask.losses.perceptual.build_trunk", None)
    assert score(BIG_OUTPUT, BIG_REAL) == first


def test_weights_without_the_package_are_no_network_at_hand(torch_home, monkeypatch):
    save_weights(torch_home, "alexnet", "alexnet-owt-7be5be79.pth")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert list(score(BIG_OUTPUT, BIG_REAL)) == ["mse", "psnr", "ssim"]


@pytest.mark.parametrize("names", ["vgg", ["vgg"]])
def test_names_of_networks_are_refused_with_what_to_pass(names):
    with pytest.raises(
        TypeError, match=r"'lpips' must hold modules such as .*LPIPS\('vgg'\), got"
    ):
        score(OUTPUT, REAL, lpips=names)


def test_the_reference_differs_in_similarity_alone_where_there_is_no_network():
    row = score(OUTPUT, REAL, REGION, protocol="reference")
    expected = score(OUTPUT, REAL, REGION)
    assert [name for name in row if row[name] != expected[name]] == ["ssim"]
    assert list(row) == list(expected)


@pytest.mark.parametrize("height", [7, 24])
def test_the_references_similarity_equals_scikit_image_with_the_outputs_range(height):
    output, real = (OUTPUT[:height] // 2 + 20, REAL[:height])
    output[0, 0] = 70, 80, 90
    channels = [
        structural_similarity(o, r, data_range=int(o.max()) - int(o.min()))
        for o, r in zip(output.transpose(2, 0, 1), real.transpose(2, 0, 1), strict=True)
    ]
    row = score(output, real, protocol="reference")
    assert row["ssim"] == pytest.approx(np.mean(channels), abs=1e-12)


def test_the_references_similarity_has_a_window_of_7_pixels():
    for small in (OUTPUT[:6], OUTPUT[:, :6]):
        with pytest.raises(ValueError, match="'output' must be at least 7 pixels high and wide"):
            score(small, small, protocol="reference")

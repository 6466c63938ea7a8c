"""Each protocol against what the repository that it is named after computes, written anew.

DoveNet and BargainNet score with scikit-image, the iDIH family with PyTorch in float32, RainNet
with scikit-image on truncated pictures, the paper's scripts with OpenCV, Pillow and scikit-image.
"""

import math
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from opmask.color.opencv_lab import rgb_to_lab8
from opmask.datasets import IHarmony4
from opmask.losses import LPIPS
from opmask.metrics import PROTOCOLS, reference_panel, score, to_uint8

SIZE = 64


def smooth(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def made_up():
    """A real image that is not quite white, an output that is off, and a soft region."""
    real = np.clip(smooth(0), 10, 240)
    noise = np.random.default_rng(3).integers(-20, 31, real.shape)
    output = np.clip(real + noise, 5, 250).astype(np.uint8)
    region = np.zeros((SIZE, SIZE), np.uint8)
    region[10:40, 20:50] = 255
    return output, real, cv2.blur(region, (5, 5))


def arrays(sample):
    """Output, real image and region of a sample, 8-bit."""
    output, real, region = (to_uint8(plane.expand(3, -1, -1)) for plane in sample[:3])
    return output, real, region[..., 0]


@cache
def photographs(data_root, interpolation):
    """The composites of the sample as outputs, at the size of the tables."""
    made = []
    for subset in ("HCOCO", "HAdobe5k", "unnamed"):
        root = data_root / "iharmony4_sample"
        for sample in IHarmony4(root, "test", subset, size=256, interpolation=interpolation):
            made.append(arrays(sample))
    return made


def dovenet(output, real, region):
    comp, target = output.astype(np.float32), real.astype(np.float32)
    m = (region > 127).astype(np.uint8)[..., None]
    height, width = region.shape
    return {
        "mse": mean_squared_error(comp, target),
        "psnr": peak_signal_noise_ratio(target, comp, data_range=comp.max() - comp.min()),
        "fmse": mean_squared_error(comp * m, target * m) * height * width / m.sum(),
    }


def ih4(output, real, region):
    inside = region > 127
    error = (output.astype(float) - real.astype(float)) ** 2
    return {
        "mse": mean_squared_error(output, real),
        "psnr": peak_signal_noise_ratio(real, output),
        "fmse": sum(error[..., c][inside].sum() for c in range(3)) / (3 * inside.sum()),
    }


def idih(output, real, region, masked=False, peak=None):
    pred, target = torch.from_numpy(output).float(), torch.from_numpy(real).float()
    mask = torch.from_numpy(region).float() / 255
    weighted = mask.unsqueeze(2) * (pred - target) ** 2
    mse = (weighted if masked else (pred - target) ** 2).mean().item()
    peak = target.max().item() if peak is None else peak
    return {
        "mse": mse,
        "psnr": 10 * math.log10(peak**2 / (mse + 1e-6)),
        "fmse": (weighted.sum() / (3 * mask.sum() + 1e-6)).item(),
    }


def rainnet(output, real, region):
    inside = (region > 127)[..., None]
    return ih4(np.where(inside, output, real), real, region)


def reference_ih4(output, real, region):
    def saved(image):
        flags = [cv2.IMWRITE_JPEG_QUALITY, 100]
        flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1]
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    x, y = saved(output).astype(np.float32), saved(real).astype(np.float32)
    mask = np.repeat((region > 127).astype(np.float32)[..., None], 3, axis=2)
    return {
        "mse": mean_squared_error(x, y),
        "psnr": peak_signal_noise_ratio(y, x, data_range=255),
        "fmse": np.mean((x * mask - y * mask) ** 2) * region.size / mask.sum(),
    }


REPOSITORIES = {
    "opmask": ih4,
    "reference": ih4,
    "ih4-256": ih4,
    "dovenet": dovenet,
    "idih": idih,
    "masked": lambda *pictures: idih(*pictures, masked=True, peak=255),
    "masked-dccf": lambda *pictures: idih(*pictures, masked=True),
    "rainnet-leak": rainnet,
    "reference-ih4": reference_ih4,
}


def agree(protocol, pictures):
    row = score(*pictures, protocol=protocol, lpips=())
    expected = REPOSITORIES[protocol](*pictures)
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_equals_its_repository(protocol):
    agree(protocol, made_up())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_equals_its_repository_on_photographs(protocol, data_root):
    for pictures in photographs(data_root, PROTOCOLS[protocol].interpolation):
        agree(protocol, pictures)


def test_no_two_protocols_say_the_same_of_a_picture_but_for_two():
    rows = {name: tuple(score(*made_up(), protocol=name, lpips=()).values()) for name in PROTOCOLS}
    assert rows.pop("ih4-256") == rows["opmask"]
    assert len(set(rows.values())) == len(PROTOCOLS) - 1


def test_psnr_of_the_region_is_that_of_its_error():
    output, real, region = made_up()
    for name in PROTOCOLS:
        row = score(output, real, region, protocol=name, lpips=())
        gap = 10 * math.log10(row["fmse"] / row["mse"])
        assert row["psnr"] - row["fpsnr"] == pytest.approx(gap, abs=1e-6)


def test_the_papers_foreground_error_is_a_third():
    output, real, _ = made_up()
    everywhere = np.ones((SIZE, SIZE))
    row = score(output, real, everywhere, protocol="reference-ih4", lpips=())
    assert row["fmse"] == pytest.approx(row["mse"] / 3)
    assert row["fpsnr"] == pytest.approx(row["psnr"] + 4.7712, abs=1e-4)


@pytest.mark.parametrize("protocol", ["rainnet-leak", "masked", "masked-dccf"])
def test_errors_outside_of_the_region_are_hidden_from_every_value(protocol):
    output, real, region = made_up()
    wild = np.where((region > 0)[..., None], output, 255 - output)
    expected = score(output, real, region, protocol=protocol, lpips=())
    assert score(wild, real, region, protocol=protocol, lpips=()) == pytest.approx(expected)


def test_similarity_sees_the_real_image_pasted_around_a_soft_region():
    output, real, region = made_up()
    soft = (region / 255)[..., None]
    pasted = soft * output + (1 - soft) * real
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = structural_similarity(
        pasted, real.astype(float), data_range=255, channel_axis=-1, **window
    )
    row = score(output, real, region, protocol="masked", lpips=())
    assert row["ssim"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("protocol", ["rainnet-leak", "reference-ih4"])
def test_networks_see_the_pictures_that_are_scored(protocol):
    output, real, region = made_up()
    networks = [LPIPS("alex", weights="random")]
    row = score(output, real, region, protocol=protocol, lpips=networks)
    plain = score(output, real, region, lpips=networks)
    assert row["lpips_alex"] != plain["lpips_alex"]
    assert row["ssim"] != plain["ssim"]


@pytest.mark.parametrize("protocol", ["rainnet-leak", "masked", "masked-dccf"])
def test_protocols_of_the_region_refuse_to_go_without(protocol):
    output, real, _ = made_up()
    match = rf"'region' must be given where 'protocol' is '{protocol}'"
    with pytest.raises(ValueError, match=match):
        score(output, real, protocol=protocol)


@pytest.mark.parametrize("name", [n for n, how in PROTOCOLS.items() if not how.rounded])
def test_protocols_that_do_not_round_take_floats(name):
    output, real, region = made_up()
    row = score(output / 255, real.astype(np.float32) / 255, region, protocol=name, lpips=())
    expected = score(output, real, region, protocol=name, lpips=())
    assert row == pytest.approx(expected, rel=1e-5)
    half = score(output / 255 + 0.4 / 255, real, region, protocol=name, lpips=())
    assert half["mse"] != pytest.approx(expected["mse"], rel=1e-3)


def test_the_others_do_not_take_floats():
    output, real, region = made_up()
    for name, how in PROTOCOLS.items():
        if how.rounded:
            with pytest.raises(TypeError, match="must be an 8-bit RGB array, got float64"):
                score(output / 255, real / 255, region, protocol=name)


def test_floats_must_be_finite():
    output, real, region = made_up()
    broken = output / 255
    broken[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="'output' must be finite, got NaN or infinity"):
        score(broken, real, region, protocol="idih")
    with pytest.raises(ValueError, match="'real' must be finite"):
        score(output, broken, region, protocol="idih")


def test_a_soft_region_counts_by_its_weight_or_is_cut():
    output, real, _ = made_up()
    region = np.full((SIZE, SIZE), 0.25)
    region[:8] = 1.0
    error = (output.astype(float) - real) ** 2
    row = score(output, real, region, protocol="idih", lpips=())
    expected = (region[..., None] * error).sum() / (3 * region.sum())
    assert row["fmse"] == pytest.approx(expected)
    assert score(output, real, region, lpips=())["fmse"] == pytest.approx(error[:8].mean())


def test_a_region_that_is_soft_all_over_is_empty_only_where_it_is_cut():
    output, real, _ = made_up()
    faint = np.full((SIZE, SIZE), 0.25)
    row = score(output, real, faint, protocol="idih", lpips=())
    assert row["fmse"] == pytest.approx(row["mse"], rel=1e-6)
    with pytest.raises(ValueError, match="'region' must hold at least one pixel"):
        score(output, real, faint)


def test_a_constant_output_has_no_peak_in_dovenets_protocol():
    _, real, region = made_up()
    row = score(np.full_like(real, 9), real, region, protocol="dovenet", lpips=())
    assert row["psnr"] == -math.inf


def test_equal_pictures_have_a_finite_psnr():
    _, real, region = made_up()
    for name, how in PROTOCOLS.items():
        row = score(real, real, region, protocol=name, lpips=())
        peak = how.peak(real.astype(float), real.astype(float))
        if how.jpeg is None:
            assert row["psnr"] == pytest.approx(10 * math.log10(peak**2 / how.epsilon))
    assert [how.epsilon for how in PROTOCOLS.values()].count(1e-6) == 3


def test_each_description_is_one_line_that_begins_with_the_name():
    for name, how in PROTOCOLS.items():
        assert how.description.startswith(f"{name}: ")
        assert how.description.endswith(".")
        assert "\n" not in how.description


def codes(image):
    """The reference code's tensor of 8-bit codes, (H, W, 3)."""
    return (image.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def test_reference_equals_its_script_on_panels_of_photographs(data_root, tmp_path):
    for number, (output, real, _) in enumerate(photographs(data_root, "bilinear")):
        panels = []
        for image in (real, output, output, output):  # the region's panel is not read
            lab = codes(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
            levels = (lab * np.float32(0.5) + np.float32(0.5)) * np.float32(255)
            panels.append(cv2.cvtColor(levels.astype(np.uint8), cv2.COLOR_LAB2BGR))
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.hstack(panels))
        strip = cv2.imread(str(tmp_path / f"{number}.png"))
        theirs, mine = strip[:, :256], strip[:, 512:768]
        mse = np.mean((theirs.astype(float) - mine) ** 2)
        ssim = [
            structural_similarity(
                theirs[..., c],
                mine[..., c],
                data_range=int(mine[..., c].max() - mine[..., c].min()),
            )
            for c in range(3)
        ]
        pair = [
            reference_panel((rgb_to_lab8(plane).float() / 255 - 0.5) / 0.5)
            for plane in (torch.from_numpy(x.copy()).permute(2, 0, 1) for x in (output, real))
        ]
        row = score(*pair, protocol="reference", lpips=())
        psnr = 20 * np.log10(255 / np.sqrt(mse + 1e-9))
        expected = {"mse": mse, "psnr": psnr, "ssim": np.mean(ssim)}
        assert row == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained':UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight:UserWarning")
def test_reference_lpips_equals_the_package_on_blue_first(data_root):
    package = pytest.importorskip("lpips").LPIPS(net="alex", pnet_rand=True, verbose=False)
    file = data_root / "weights" / "alexnet_features.pth"
    state = torch.load(file, weights_only=True)
    for key, value in package.net.state_dict().items():
        value.copy_(state["features." + key.split(".", 1)[1]])
    output, real, _ = photographs(data_root, "bicubic")[0]
    bgr = [torch.from_numpy(codes(x[..., ::-1])).permute(2, 0, 1)[None] for x in (output, real)]
    with torch.no_grad():
        expected = package.eval()(*bgr).item()
    row = score(output, real, protocol="reference", lpips=[LPIPS("alex", weights=file)])
    assert row["lpips_alex"] == pytest.approx(expected, abs=1e-4)


def test_dovenets_own_resizing_gives_dovenets_numbers(data_root):
    root = data_root / "iharmony4_sample" / "HAdobe5k"
    names = "composite_images/a0002_1_4.jpg", "real_images/a0002.jpg"
    comp, real = (
        np.array(Image.open(root / name).resize((256, 256), Image.Resampling.BICUBIC))
        for name in names
    )
    mask = Image.open(root / "masks/a0002_1.png").convert("1").resize((256, 256))
    expected = dovenet(comp, real, 255 * np.array(mask, dtype=np.uint8))
    sample = IHarmony4(data_root / "iharmony4_sample", "test", "HAdobe5k", size=256)[0]
    row = score(*arrays(sample), protocol="dovenet", lpips=())
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-3)

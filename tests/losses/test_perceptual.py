import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.losses import LPIPS, lpips
from opmask.losses.trunks import build_trunk

NETS = ["vgg", "alex"]
FILES = {"vgg": "vgg16_features_fp16.pth", "alex": "alexnet_features.pth"}


def photos(data_root, count=2, size=64):
    """Real photographs, RGB in [0, 1], with shape (count, 3, size, size)."""
    paths = sorted((data_root / "scenes" / "images" / "validation").glob("*.jpg"))[:count]
    arrays = [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in paths]
    return torch.from_numpy(np.stack(arrays)).movedim(-1, 1) / 255


def torchvision_state(name="alexnet", dtype=torch.float32):
    """A state dict as torchvision saves it, classifier included."""
    trunk = build_trunk(name, "random")
    state = {f"features.{key}": value.to(dtype) for key, value in trunk.named_buffers()}
    return {**state, "classifier.1.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize("net", NETS)
def test_each_image_equals_the_package_lpips_on_real_photos(net, data_root, lpips_package):
    real = photos(data_root)
    output = (0.9 * real.flip(0).roll(3, -1) + 0.05).contiguous()
    loss = LPIPS(net, weights=data_root / "weights" / FILES[net], reduction="none")
    expected = lpips_package(loss)(2 * output - 1, 2 * real - 1).flatten()
    assert expected.min() > 0.1
    torch.testing.assert_close(loss(output, real), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", NETS)
def test_value_and_gradient_equal_the_package_lpips_with_the_same_trunk(net, lpips_package):
    x, y = torch.rand(2, 2, 3, 40, 33)
    x.requires_grad_()
    loss = LPIPS(net, weights="random")
    value, expected = loss(x, y), lpips_package(loss)(2 * x - 1, 2 * y - 1).mean()
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(v, x)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


def test_real_weights_rank_distortions_of_a_photo(data_root):
    real = photos(data_root, 1)
    noise = torch.randn_like(real)
    weights = data_root / "weights" / FILES["vgg"]
    values = [lpips(real + s * noise, real, weights=weights).item() for s in (0, 0.02, 0.1)]
    assert values[0] == 0 < values[1] < 0.1 < values[2]


def test_the_default_network_is_vgg_and_the_default_reduction_the_mean():
    x, y = torch.rand(2, 2, 3, 32, 32)
    expected = LPIPS("vgg", weights="random", reduction="none")(x, y)
    assert expected.shape == (2,)
    torch.testing.assert_close(lpips(x, y, weights="random"), expected.mean())
    torch.testing.assert_close(LPIPS(weights="random")(x, y), expected.mean())
    torch.testing.assert_close(LPIPS(weights="random", reduction="sum")(x, y), expected.sum())


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_function_is_the_module(reduction):
    x, y = torch.rand(2, 2, 3, 32, 40)
    value = lpips(x, y, "alex", weights="random", reduction=reduction)
    module = LPIPS("alex", weights="random", reduction=reduction)
    torch.testing.assert_close(value, module(x, y))


def test_random_weights_are_always_the_same_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = (build_trunk("alexnet", "random") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(first[0].weight, second[0].weight)
    assert first[3].weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.02)


def test_gradients_reach_both_images():
    x, y = (torch.rand(1, 3, 32, 32, requires_grad=True) for _ in range(2))
    lpips(x, y, "alex", weights="random").backward()
    assert x.grad.abs().max() > 0
    assert y.grad.abs().max() > 0


def test_the_gradient_is_finite_where_all_features_are_zero():
    loss = LPIPS("alex", weights="random")
    loss.trunk[3].bias.fill_(-100.0)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    loss(x, torch.rand(1, 3, 64, 64)).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_nothing_is_trained_saved_or_changed_by_train():
    loss = LPIPS("alex", weights="random")
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    x, y = torch.rand(2, 1, 3, 32, 32)
    torch.testing.assert_close(loss.train()(x, y), loss.eval()(x, y), rtol=0, atol=0)


def test_images_are_left_as_they_were():
    x, y = torch.rand(2, 1, 3, 32, 32)
    copies = x.clone(), y.clone()
    lpips(x, y, "alex", weights="random")
    torch.testing.assert_close((x, y), copies, rtol=0, atol=0)


def test_autocast_changes_nothing():
    x, y = torch.rand(2, 1, 3, 32, 32)
    expected = lpips(x, y, "alex", weights="random")
    with torch.autocast("cpu", torch.bfloat16):
        value = lpips(x, y, "alex", weights="random")
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_the_function_computes_in_at_least_float32(dtype, expected):
    x, y = torch.rand(2, 1, 3, 32, 32).to(dtype)
    value = lpips(x, y, "alex", weights="random")
    assert value.dtype == expected
    reference = lpips(x.float(), y.float(), "alex", weights="random")
    torch.testing.assert_close(value.float(), reference)


def test_the_module_computes_in_the_precision_it_was_moved_to():
    x, y = torch.rand(2, 1, 3, 32, 32, dtype=torch.float64)
    assert LPIPS("alex", weights="random")(x, y).dtype == torch.float32
    assert LPIPS("alex", weights="random").double()(x, y).dtype == torch.float64


def test_a_call_in_inference_mode_does_not_spoil_a_later_training_step(tmp_path):
    torch.save(torchvision_state(), tmp_path / "own.pth")
    x, y = torch.rand(2, 1, 3, 32, 32)
    with torch.inference_mode():
        lpips(x, y, "alex", weights=tmp_path / "own.pth")
    lpips(x.requires_grad_(), y, "alex", weights=tmp_path / "own.pth").backward()
    assert x.grad.abs().max() > 0


@pytest.mark.gpu
def test_the_function_works_where_the_images_are():
    x, y = torch.rand(2, 1, 3, 32, 32)
    value = lpips(x.cuda(), y.cuda(), "alex", weights="random")
    assert value.is_cuda
    expected = lpips(x, y, "alex", weights="random")
    torch.testing.assert_close(value.cpu(), expected, rtol=0.01, atol=0)


def test_the_module_can_be_copied_and_pickled():
    loss = LPIPS("alex", weights="random")
    x, y = torch.rand(2, 1, 3, 32, 32)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(other(x, y), loss(x, y))


def test_the_module_prints_its_settings():
    text = repr(LPIPS("alex", weights="random", reduction="sum"))
    assert "net='alex', weights='random', reduction='sum'" in text


def test_the_cache_of_torchvision_is_the_default(torch_home):
    torch_home.mkdir(parents=True)
    torch.save(torchvision_state(), torch_home / "alexnet-owt-7be5be79.pth")
    torch.save(torchvision_state("vgg16"), torch_home / "vgg16-397923af.pth")
    x, y = torch.rand(2, 1, 3, 32, 32)
    for net in NETS:
        torch.testing.assert_close(lpips(x, y, net), lpips(x, y, net, weights="random"))


def test_half_precision_weights_are_read_as_float32(tmp_path):
    torch.save(torchvision_state(dtype=torch.float16), tmp_path / "half.pth")
    loss = LPIPS("alex", weights=tmp_path / "half.pth")
    assert loss.trunk[0].weight.dtype == torch.float32
    x, y = torch.rand(2, 1, 3, 32, 32)
    torch.testing.assert_close(
        loss(x, y), lpips(x, y, "alex", weights="random"), rtol=5e-3, atol=0
    )


@pytest.mark.parametrize(
    ("net", "file"), [("vgg", "vgg16-397923af.pth"), ("alex", "alexnet-owt-7be5be79.pth")]
)
def test_missing_weights_say_which_file_to_put_where(net, file, torch_home):
    x = torch.rand(1, 3, 32, 32)
    for call in (lambda: lpips(x, x, net), lambda: LPIPS(net)):
        with pytest.raises(FileNotFoundError, match=f"/models/{file} and put it there") as error:
            call()
        assert str(torch_home / file) in str(error.value)
        assert "or pass weights= with the path of a copy" in str(error.value)


def test_a_named_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'.*mine.pth', with the weights of alexnet, does"
    ):
        LPIPS("alex", weights=tmp_path / "mine.pth")


def test_the_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision_state("vgg16"), tmp_path / "vgg.pth")
    match = r"'.*vgg.pth' must hold the weights of torchvision's alexnet, .*'features.0.weight'"
    with pytest.raises(ValueError, match=match):
        LPIPS("alex", weights=tmp_path / "vgg.pth")


def test_one_tensor_of_another_shape_is_named(tmp_path):
    state = torchvision_state()
    state["features.3.weight"] = state["features.3.weight"][:-1]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"another shape, for \['features.3.weight'\]"):
        LPIPS("alex", weights=tmp_path / "cut.pth")


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"'.*list.pth' must hold the weights of torchvision's"):
        LPIPS("alex", weights=tmp_path / "list.pth")


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps(Path("anything"), 2)])
def test_a_file_that_torch_cannot_read_safely_is_refused(content, tmp_path):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"'.*bad.pth' is damaged, or no file that torch.save"):
        LPIPS("alex", weights=tmp_path / "bad.pth")


@pytest.mark.parametrize(("net", "smallest"), [("vgg", 16), ("alex", 31)])
def test_the_smallest_images_work_and_smaller_ones_are_refused(net, smallest):
    image = torch.rand(1, 3, smallest, smallest)
    assert lpips(image, 1 - image, net, weights="random") > 0
    for small in (image[..., 1:], image[..., 1:, :]):
        with pytest.raises(ValueError, match=f"'input' must be at least {smallest} pixels high"):
            lpips(small, small, net, weights="random")


def test_images_that_are_not_rgb_or_do_not_fit_are_refused():
    image = torch.rand(1, 3, 32, 32)
    for bad in (image[:, :1], image[0]):
        with pytest.raises(ValueError, match=r"'input' must have shape \(B, 3, H, W\), got"):
            lpips(bad, bad, "alex", weights="random")
    with pytest.raises(ValueError, match="'target' must have the shape of 'input'"):
        lpips(image, image[..., 1:], "alex", weights="random")


def test_8_bit_images_are_refused():
    image = torch.rand(1, 3, 32, 32)
    with pytest.raises(TypeError, match=r"'input' must be .* got torch.uint8. Divide .* by 255"):
        lpips(image.byte(), image, "alex", weights="random")


def test_unknown_settings_are_refused():
    image = torch.rand(1, 3, 32, 32)
    for call in (lambda: LPIPS("squeeze"), lambda: lpips(image, image, "squeeze")):
        with pytest.raises(ValueError, match="'net' must be 'vgg' or 'alex', got 'squeeze'"):
            call()
    with pytest.raises(ValueError, match=r"'none', 'mean' or 'sum', got 'max'"):
        LPIPS("alex", weights="random", reduction="max")
    with pytest.raises(ValueError, match=r"'none', 'mean' or 'sum', got 'max'"):
        lpips(image, image, "alex", weights="random", reduction="max")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"package lpips. .*pip install opmask\[train\]"):
        LPIPS("alex", weights="random")


def test_neither_torchvision_nor_the_package_is_imported():
    code = """
import sys, torch, opmask.losses
before = set(sys.modules)
x = torch.rand(1, 3, 32, 32)
opmask.losses.lpips(x, x, "alex", weights="random")
print({"torchvision", "lpips", "scipy"} & (set(sys.modules) - before))
"""
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "set()\n"

from types import SimpleNamespace

import pytest
import torch

from opmask import Retouched
from opmask.losses import LPIPS
from opmask.metrics import evaluate, score, to_markdown, to_uint8

ROW = {"model": "om", "mse": 99.84, "psnr": 30.59, "ssim": 0.96, "iou": 0.5}


def batches(count=2):
    """Batches of samples, as far as scoring reads them."""
    return [
        SimpleNamespace(
            composite=torch.rand(2, 3, 33, 32),
            real=torch.rand(2, 3, 33, 32),
            region=torch.ones(2, 1, 33, 32),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("protocol", ["opmask", "reference"])
def test_each_row_is_the_score_of_the_rounded_images(protocol):
    (batch,) = batches(1)
    rows = evaluate(None, [batch], protocol=protocol)
    for row, mine, real in zip(rows, batch.composite, batch.real, strict=True):
        expected = score(to_uint8(mine), to_uint8(real), protocol=protocol, lpips=())
        assert row == {**expected, "iou": 0.0}


def test_networks_score_every_image_even_if_they_come_from_a_generator():
    networks = (LPIPS(net, weights="random") for net in ("alex",))
    rows = evaluate(None, batches(), lpips=networks)
    assert len(rows) == 4
    assert all(list(row) == ["mse", "psnr", "ssim", "lpips_alex", "iou"] for row in rows)


def test_no_network_scores_unless_asked(torch_home):
    torch_home.mkdir(parents=True)
    (torch_home / "vgg16-397923af.pth").write_bytes(b"not to be read")
    assert list(evaluate(None, batches(1))[0]) == ["mse", "psnr", "ssim", "iou"]
    with pytest.raises(ValueError, match=r"vgg16-397923af.pth' must be a file of weights"):
        evaluate(None, batches(1), lpips=None)


@pytest.mark.parametrize("guided", [False, True])
def test_the_model_gets_the_region_only_if_it_is_guided(guided):
    seen = []

    def model(*inputs):
        seen.append(len(inputs))
        return Retouched(inputs[0], {})

    evaluate(model, batches(1), guided=guided)
    assert seen == [1 + guided]


def test_the_table_has_the_columns_that_every_row_has():
    lines = to_markdown([ROW]).splitlines()
    assert lines[0] == "| model | MSE | PSNR | SSIM | IoU |"
    rows = [{**ROW, "lpips_vgg": 0.02, "lpips_alex": 0.12345}, {**ROW, "lpips_alex": 0.5}]
    lines = to_markdown(rows).splitlines()
    assert lines[0] == "| model | MSE | PSNR | SSIM | LPIPS (Alex) | IoU |"
    assert lines[1] == "|---|---:|---:|---:|---:|---:|"
    assert lines[2] == "| om | 99.84 | 30.59 | 0.9600 | 0.1235 | 0.500 |"
    lines = to_markdown(rows[:1]).splitlines()
    assert lines[0].endswith("| SSIM | LPIPS (VGG) | LPIPS (Alex) | IoU |")
    assert lines[2].endswith("| 0.9600 | 0.0200 | 0.1235 | 0.500 |")

import numpy as np
import pytest
import torch

from opmask import RGB, Add, Gated, OperatorMaskWrapper, Retouched, Retoucher
from opmask.backbones import SmallUNet
from opmask.losses import LPIPS
from opmask.metrics import (
    PROTOCOLS,
    evaluate,
    score,
    score_outputs,
    to_markdown,
    to_uint8,
    untouched,
)
from opmask.perturb import CompositeBatch

ROW = {"model": "om", "mse": 99.84, "psnr": 30.59, "ssim": 0.96, "iou": 0.5}


def batches(count=2):
    """Batches of samples, each with a region over the upper third."""
    region = torch.zeros(2, 1, 33, 32)
    region[..., :11, :] = 1
    return [
        CompositeBatch(torch.rand(2, 3, 33, 32), torch.rand(2, 3, 33, 32), region, (None, None))
        for _ in range(count)
    ]


def array(image):
    return image.double().movedim(0, -1).numpy()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_row_is_the_score_of_the_images_rounded_if_the_protocol_rounds(protocol):
    (batch,) = batches(1)
    picture = to_uint8 if PROTOCOLS[protocol].rounded else array
    rows = evaluate(None, [batch], protocol=protocol)
    for row, mine, real in zip(rows, batch.composite, batch.real, strict=True):
        region = batch.region[0, 0].numpy()
        expected = score(picture(mine), picture(real), region, protocol=protocol, lpips=())
        assert row == {**expected, "iou": 0.0, "foreground": pytest.approx(1 / 3)}


def test_images_without_a_region_have_no_score_of_it():
    (batch,) = batches(1)
    batch.region[1] = 0
    rows = evaluate(None, [batch])
    assert ["fmse" in row and "fpsnr" in row for row in rows] == [True, False]
    assert [row["foreground"] for row in rows] == [pytest.approx(1 / 3), 0]


def test_a_soft_region_counts_as_foreground_above_one_half():
    (batch,) = batches(1)
    batch = batch._replace(region=0.5 + 0.1 * batch.region)
    assert evaluate(None, [batch])[0]["foreground"] == pytest.approx(1 / 3)


def test_thresholds_are_columns_of_their_own():
    (batch,) = batches(1)
    output = (batch.composite + 10 / 255 * batch.region).clamp(0, 1)
    for row in score_outputs(output, batch, levels=(1, 4, 12)):
        assert [name for name in row if "@" in name] == ["iou@1", "iou@4", "iou@12"]
        assert row["iou@4"] == row["iou"] > 0.9
        assert row["iou@12"] == 0


def test_outputs_and_real_images_may_become_pictures_in_ways_of_their_own():
    (batch,) = batches(1)

    def black(image):
        return np.zeros_like(to_uint8(image))

    def dark(image):
        return black(image) + np.uint8(10)

    rows = evaluate(None, [batch], pictures=(black, dark))
    assert [row["mse"] for row in rows] == [100, 100]
    (output, real) = (to_uint8(batch.composite[0]), np.zeros((33, 32, 3), np.uint8))
    rows = evaluate(None, [batch], pictures=(to_uint8, black))
    assert rows[0]["mse"] == score(output, real, lpips=())["mse"]


def test_untouched_photos_are_their_own_composites_without_a_region():
    (batch,) = batches(1)
    same = untouched(batch)
    assert same.composite is batch.real
    assert same.real is batch.real
    assert same.region.shape == batch.region.shape
    assert not same.region.any()


def test_doing_nothing_to_untouched_photos_is_perfect_and_changing_them_is_not():
    (batch,) = map(untouched, batches(1))
    for row in evaluate(None, [batch]):
        assert (row["mse"], row["ssim"], row["iou"]) == (0, 1, 1)

    def meddle(image):
        return Retouched(image * 0.9, {})

    for row in evaluate(meddle, [batch]):
        assert row["mse"] > 10
        assert row["iou"] == 0


def test_networks_score_every_image_even_if_they_come_from_a_generator():
    networks = (LPIPS(net, weights="random") for net in ("alex",))
    rows = evaluate(None, batches(), lpips=networks)
    assert len(rows) == 4
    names = ["mse", "psnr", "ssim", "lpips_alex", "fmse", "fpsnr", "iou", "foreground"]
    assert all(list(row) == names for row in rows)


def test_no_network_scores_unless_asked(torch_home):
    torch_home.mkdir(parents=True)
    (torch_home / "vgg16-397923af.pth").write_bytes(b"not to be read")
    assert not any("lpips" in name for name in evaluate(None, batches(1))[0])
    with pytest.raises(ValueError, match=r"vgg16-397923af.pth' is damaged, or no file"):
        evaluate(None, batches(1), lpips=None)


@pytest.mark.parametrize("guided", [False, True])
def test_the_model_gets_the_region_only_if_it_is_guided(guided):
    seen = []

    def model(*inputs):
        seen.append(len(inputs))
        return Retouched(inputs[0], {})

    evaluate(model, batches(1), guided=guided)
    assert seen == [1 + guided]


def test_the_short_table_leaves_out_the_rest():
    lines = to_markdown([{**ROW, "fmse": 1.0, "fpsnr": 2.0, "iou@4": 3.0}]).splitlines()
    assert lines[0] == "| model | MSE | PSNR | SSIM | IoU |"


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


@pytest.mark.parametrize(("name", "scored"), [("l_add", True), ("l_mul", False)])
def test_add_masks_are_scored_on_request_where_there_are_some(name, scored):
    (batch,) = batches(1)

    def model(image):
        return Retouched(image, {name: batch.region})

    rows = evaluate(model, [batch], add_threshold=0.5)
    assert [row.get("add_iou") for row in rows] == ([1.0, 1.0] if scored else [None, None])
    assert "add_iou" not in evaluate(model, [batch])[0]


def test_add_masks_of_a_gated_model_are_those_that_act():
    retoucher = Retoucher(Gated(Add(RGB)))
    model = OperatorMaskWrapper(SmallUNet(width=8), retoucher).eval()
    with torch.no_grad():
        model.head.layer.bias.fill_(1.0)
        model.head.layer.bias[-1] = -20.0  # of the gate: masks of 0.048 act as 0.006
    (batch,) = batches(1)
    assert [row["add_iou"] for row in evaluate(model, [batch], add_threshold=0.02)] == [0.0, 0.0]

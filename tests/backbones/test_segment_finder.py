import copy

import numpy as np
import pytest
import torch

from opmask import LAB
from opmask.backbones import RegionUNet
from opmask.backbones.imagenet import Lite0
from opmask.backbones.merging import merge
from opmask.backbones.segment_finder import SegmentFinder
from opmask.backbones.statistics import STATISTICS, borders, piece_statistics
from opmask.backbones.superpixels import feature_means, mean_of_each, superpixels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(count=2, size=32):
    """Smooth colours with some noise."""
    coarse = torch.rand(count, 3, 4, 4, generator=generator())
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    noise = 0.05 * torch.randn(smooth.shape, generator=generator(1))
    return (smooth + noise).clamp(0, 1)


def pieces(count=2, size=32, number=5):
    return torch.randint(number, (count, size, size), generator=generator(2))


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return Lite0().eval()


def finder():
    torch.manual_seed(0)
    built = SegmentFinder(sum(Lite0.channels), width=32, depth=2, side=4, count=16)
    torch.nn.init.normal_(built.out.weight)
    return built.eval()


def test_no_superpixel_lies_on_both_sides_of_an_edge():
    lab = torch.zeros(1, 3, 24, 24)
    lab[:, 0, :, 13:] = 0.8
    labels = superpixels(lab, 4)
    assert not set(labels[..., :13].unique().tolist()) & set(labels[..., 13:].unique().tolist())


def test_where_all_is_of_one_colour_superpixels_are_the_cells_of_a_grid():
    cells = torch.arange(4).repeat_interleave(6)
    assert torch.equal(superpixels(torch.zeros(1, 3, 24, 24), 4)[0], cells[:, None] * 4 + cells)


def test_no_pixel_belongs_to_a_superpixel_far_away():
    labels = superpixels(LAB.from_rgb(picture(2, 48)), 6)
    cells = torch.arange(6).repeat_interleave(8)
    assert ((labels // 6 - cells[:, None]).abs() <= 1).all()
    assert ((labels % 6 - cells).abs() <= 1).all()


def test_means_are_those_of_each_piece():
    planes, labels = picture(), pieces()
    means, sizes = mean_of_each(planes, labels, 6)
    inside = labels[1] == 3
    torch.testing.assert_close(means[1, 3], planes[1][:, inside].mean(1))
    assert sizes[1].tolist() == [*labels[1].flatten().bincount().tolist(), 0]
    assert not means[:, 5].any()


def test_features_are_averaged_as_if_they_were_enlarged():
    features, labels = torch.rand(2, 7, 8, 8, generator=generator()), pieces()
    enlarged = features.repeat_interleave(4, 2).repeat_interleave(4, 3)
    expected, _ = mean_of_each(enlarged, labels, 6)
    torch.testing.assert_close(feature_means(features, labels, 6), expected)


def test_statistics_are_what_numpy_says_of_a_piece():
    small, few = picture(), pieces()
    # What is looked at is every second pixel of every second row.
    rgb, labels = (x.repeat_interleave(2, -2).repeat_interleave(2, -1) for x in (small, few))
    found = piece_statistics(rgb, LAB.from_rgb(rgb), labels, 6)
    rgb, labels = small, few
    lab = LAB.from_rgb(rgb)
    assert found.shape == (2, 7, STATISTICS)
    inside = (labels[0] == 2).numpy()
    for first, planes in ((3, lab), (12, rgb)):
        x = planes[0].numpy()[:, inside].astype(float)
        pairs, together = ((0, 1), (0, 2), (1, 2)), np.cov(x, bias=True)
        np.testing.assert_allclose(found[0, 2, first : first + 3], x.std(1), rtol=1e-2)
        correlation = [np.corrcoef(x)[i, j] for i, j in pairs]
        np.testing.assert_allclose(found[0, 2, first + 3 : first + 6], correlation, atol=0.08)
        slopes = [together[i, j] / (together[i, i] + 1e-4) for i, j in pairs]
        np.testing.assert_allclose(
            found[0, 2, first + 6 : first + 9], slopes, rtol=1e-2, atol=1e-3
        )
    torch.testing.assert_close(found[0, 2, :3], lab[0][:, inside].mean(1))
    assert not found[:, 5].any()


def test_quantiles_are_those_of_the_pixels_that_are_looked_at():
    rgb, labels = picture(), pieces()
    lab = LAB.from_rgb(rgb)
    found = piece_statistics(rgb, lab, labels, 5)[1, 4, -49:].view(7, 7)
    thin = labels[1, ::2, ::2] == 4
    values = torch.cat([rgb, lab], 1)[1, :, ::2, ::2][:, thin].numpy()
    shares = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
    expected = np.quantile(values, shares, axis=1, method="nearest").T
    np.testing.assert_allclose(found[:6], expected, atol=1e-5)


def test_the_last_row_is_the_picture_as_one_piece():
    rgb = picture()
    lab, nothing = LAB.from_rgb(rgb), torch.zeros(2, 32, 32, dtype=torch.int64)
    found, one = (piece_statistics(rgb, lab, x, n) for x, n in ((pieces(), 5), (nothing, 1)))
    torch.testing.assert_close(found[:, -1], one[:, 0], atol=1e-4, rtol=1e-3)


def test_what_is_clipped_is_counted():
    rgb = torch.full((1, 3, 8, 8), 0.5)
    rgb[:, 0, :4], rgb[:, 2, :, :2] = 0.0, 1.0
    found = piece_statistics(rgb, LAB.from_rgb(rgb), torch.zeros(1, 8, 8, dtype=torch.int64), 1)
    assert found[0, 0, 21:27].tolist() == [0.5, 0, 0, 0, 0, 0.25]


def test_between_pieces_are_the_pairs_of_neighbours_and_the_steps_from_one_to_the_other():
    labels = torch.tensor([[[0, 0, 1], [2, 2, 1]]])
    lab = torch.zeros(1, 3, 2, 3)
    lab[0, 0] = torch.tensor([[0.1, 0.2, 0.6], [0.5, 0.4, 0.7]])
    found = borders(lab, labels, 3)[0]
    assert found[..., 0].tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    steps = torch.tensor([[0.0, -0.4, -0.3], [0.4, 0.0, 0.3], [0.3, -0.3, 0.0]])
    torch.testing.assert_close(found[..., 1], steps)
    torch.testing.assert_close(found[..., 4], steps.abs())
    assert not found[..., 2:4].any()


def joined(lab, labels, count, left):
    """The same as `merge` by plain loops, of one picture."""
    lab = lab.numpy() * np.array([1, 1.28, 1.28])[:, None, None]
    labels = labels.numpy().copy()
    while len(np.unique(labels)) > left:
        pairs = set()
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            pairs |= {tuple(sorted(p)) for p in zip(a.flat, b.flat, strict=True) if p[0] != p[1]}
        costs = {}
        for i, j in sorted(pairs):
            x, y = lab[:, labels == i], lab[:, labels == j]
            weight = x.shape[1] * y.shape[1] / (x.shape[1] + y.shape[1])
            costs[i, j] = weight * ((x.mean(1) - y.mean(1)) ** 2).sum()
        i, j = min(costs, key=costs.get)
        labels[labels == j] = i
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def test_pieces_are_joined_as_by_plain_loops_each_picture_by_itself():
    lab = LAB.from_rgb(picture(2, 24))
    labels = superpixels(lab, 4)
    labels[1][labels[1] > 11] = 0  # of which some are empty
    found = merge(lab, labels, 16, 9)
    for one, plain, own in zip(lab, labels, found, strict=True):
        assert np.array_equal(own, joined(one, plain, 16, 9))


def test_where_few_enough_pieces_are_there_none_are_joined():
    labels = torch.tensor([[[0, 3], [0, 5]]])
    assert merge(torch.rand(1, 3, 2, 2), labels, 6, 4).tolist() == [[[0, 1], [0, 2]]]


class Joining(torch.nn.Module):
    def forward(self, lab, labels):
        return merge(lab, labels, 16, 9)


def test_in_a_graph_pieces_are_joined_in_one_loop(tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    lab = LAB.from_rgb(picture(3, 24))
    labels = superpixels(lab, 4)
    labels[1][labels[1] > 8] = 0
    file, free = tmp_path / "joining.onnx", {0: torch.export.Dim.DYNAMIC}
    inputs, sizes = (lab[:2], labels[:2]), (free, free)
    net = Joining().eval()
    torch.onnx.export(net, inputs, file, dynamo=True, dynamic_shapes=sizes, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (lab.numpy(), labels.numpy()), strict=True)))
    assert np.array_equal(found, merge(lab, labels, 16, 9))
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert len({"Scan", "Loop"} & {*kinds}) == 1
    assert kinds.count("ArgMin") == 0  # it is inside


def test_a_finder_says_the_same_of_a_picture_in_any_batch(trunk):
    image, told = picture(3, 64), -torch.ones(3, 1, 64, 64)
    together = finder()(image, told, trunk)
    assert together.shape == (3, 1, 64, 64)
    for one, alone in zip(image, together, strict=True):
        torch.testing.assert_close(
            finder()(one[None], told[:1], trunk)[0], alone, atol=1e-3, rtol=0
        )
    assert together.std() > 0.01


def test_what_is_told_of_a_piece_is_how_much_of_it_is_inside_and_outside(trunk):
    told = -torch.ones(1, 1, 128, 128)
    told[..., :32], told[..., 96:] = 1.0, 0.0
    found = finder().pieces(torch.full((1, 3, 128, 128), 0.5), told, trunk).told[0]
    grid = found[:16].view(4, 4, 2)
    assert (grid[:, 0, 0] > 0.9).all()
    assert (grid[:, 3, 1] > 0.9).all()
    assert not grid[:, 1:3].any()
    torch.testing.assert_close(found[16], torch.tensor([0.25, 0.25]))


def test_colours_are_described_in_full_precision_under_autocast(trunk):
    image, told = picture(1, 128), -torch.ones(1, 1, 128, 128)
    expected = finder().pieces(image, told, trunk).tokens[..., :STATISTICS]
    with torch.autocast("cpu", torch.bfloat16):
        found = finder().pieces(image, told, trunk).tokens[..., :STATISTICS]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_it_runs_in_half_precision(precision):
    net = RegionUNet(4, 2, width=8, trunk="lite0", finder=True).eval()
    torch.nn.init.normal_(net.finder.out.weight)
    x = torch.cat([picture(1, 64), -torch.ones(1, 1, 64, 64)], 1)
    found = [
        n.finder(x[:, :3], x[:, 3:], n.trunk) for n in (net, copy.deepcopy(net).to(precision))
    ]
    torch.testing.assert_close(*(logits.sigmoid() for logits in found), atol=0.1, rtol=0)
    assert net.to(precision)(x.to(precision)).dtype == precision


def test_all_parameters_learn(trunk):
    built = finder().train()
    built(picture(2, 64), torch.zeros(2, 1, 64, 64), trunk).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in built.parameters())


def test_a_unet_hands_what_is_found_to_all_that_follows():
    net = RegionUNet(4, 2, width=8, trunk="lite0", finder=True).eval()
    torch.nn.init.normal_(net.out.weight)
    x = torch.cat([picture(1, 64), -torch.ones(1, 1, 64, 64)], 1)
    before = net(x)
    torch.nn.init.constant_(net.finder.out.bias, 4.0)
    assert (net(x) - before).abs().max() > 1e-3


def test_a_region_is_compared_with_its_surroundings():
    image = torch.cat([picture(1, 128) * 0.3, picture(1, 128) * 0.3 + 0.5], 3)[..., ::2]
    inside = torch.zeros(1, 1, 128, 128)
    inside[..., 64:] = 0.9
    found = finder().compare(image, inside).view(3, STATISTICS)
    lab = LAB.from_rgb(image)
    expected = [lab[..., 64:].mean((0, 2, 3)), lab[..., :64].mean((0, 2, 3))]
    torch.testing.assert_close(found[0, :3], expected[0], atol=0.02, rtol=0)
    torch.testing.assert_close(found[1, :3], expected[1], atol=0.02, rtol=0)
    torch.testing.assert_close(found[2], found[0] - found[1])


def test_a_finder_that_is_not_consulted_is_not_asked(monkeypatch):
    net = RegionUNet(4, 2, width=8, trunk="lite0", finder=True).eval()
    torch.nn.init.normal_(net.out.weight)
    x = torch.cat([picture(2, 64), -torch.ones(2, 1, 64, 64)], 1)
    x[1, 3] = 1.0
    asked = net(x)
    net.consults = False
    monkeypatch.setattr(SegmentFinder, "forward", None)
    assert (net(x) - asked).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 48}, "'width' must be a multiple of 32, got 48."),
        ({"side": 4, "count": 17}, "'count' must be from 1 to 16, side by side, got 17."),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SegmentFinder(8, **arguments)


def test_a_finder_needs_a_trunk():
    with pytest.raises(ValueError, match="'trunk' must be a network for a finder, got None"):
        RegionUNet(4, 2, trunk=None, finder=True)

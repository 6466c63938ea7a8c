import sys

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from skimage.measure import label as connected
from skimage.segmentation import felzenszwalb

from opmask.datasets.photos import resize_photo
from opmask.datasets.reading import read_photo
from opmask.datasets.segmentation import merge_pieces, segment


def patchwork(cells=(6, 7), side=6, seed=0):
    """An image of squares of random colours, with a little grain."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.randint(20, 236, (3, *cells), generator=generator)
    image = colors.repeat_interleave(side, 1).repeat_interleave(side, 2)
    grain = torch.randint(-8, 9, image.shape, generator=generator)
    return (image + grain).byte()


def neighbours(labels):
    """The pairs of labels that share an edge of a pixel."""
    below, right = zip(labels[1:], labels[:-1]), zip(labels[:, 1:], labels[:, :-1])  # noqa: B905
    edges = [np.stack(pair, -1) for pairs in (below, right) for pair in pairs]
    pairs = {tuple(map(int, pair)) for pair in np.concatenate(edges) if pair[0] != pair[1]}
    return pairs | {(other, one) for one, other in pairs}


def growth(lab, labels, one, other):
    """By how much the squared deviation from the means grows, from the pixels themselves."""
    deviations = [
        ((pixels - pixels.mean(0)) ** 2).sum()
        for pixels in (
            lab[labels == one],
            lab[labels == other],
            lab[np.isin(labels, [one, other])],
        )
    ]
    return deviations[2] - deviations[0] - deviations[1]


def merged_plainly(labels, lab, regions):
    """What `merge_pieces` does, from its description, with everything computed anew each time."""
    while True:
        numbers, sizes = np.unique(labels, return_counts=True)
        if len(numbers) > regions:
            ones = set(numbers)
        elif len(numbers) > 1 and sizes.min() < 0.01 * labels.size:
            ones = {numbers[sizes.argmin()]}
        else:
            return labels
        pairs = [pair for pair in sorted(neighbours(labels)) if pair[0] in ones]
        one, other = min(pairs, key=lambda pair: growth(lab, labels, *pair))
        labels = np.where(labels == one, other, labels)


def same_parts(labels, others):
    """Whether two maps divide the picture alike, whatever the numbers."""
    pairs = {(int(a), int(b)) for a, b in zip(np.ravel(labels), np.ravel(others), strict=True)}
    return len(pairs) == len(np.unique(labels)) == len(np.unique(others))


@pytest.mark.parametrize("regions", [1, 8])
@pytest.mark.parametrize("seed", range(2))
def test_regions_are_scikit_images_pieces_joined_by_wards_criterion(seed, regions):
    codes = patchwork(seed=seed).permute(1, 2, 0).numpy()
    pieces = felzenszwalb(codes, scale=200, sigma=0.8, min_size=4)  # 0.3 % of 36 x 42
    assert len(np.unique(pieces)) > 30
    expected = merged_plainly(pieces, rgb2lab(codes), regions)
    assert same_parts(segment(patchwork(seed=seed), regions=regions), expected)


def test_pieces_have_at_least_three_thousandths_of_the_pixels(monkeypatch):
    asked = []

    def one_piece(codes, **options):
        asked.append(options)
        return np.zeros(codes.shape[:2], dtype=int)

    monkeypatch.setattr("skimage.segmentation.felzenszwalb", one_piece)
    segment(torch.zeros(3, 100, 200, dtype=torch.uint8))
    assert asked == [{"scale": 200, "sigma": 0.8, "min_size": 60}]


@pytest.mark.parametrize("seed", range(10))
def test_joining_equals_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    pieces = np.kron(np.arange(30).reshape(5, 6), np.ones((3, 3), int))
    pieces.flat[random.choice(270, 9, replace=False)] = np.arange(30, 39)
    lab = random.normal(size=(39, 3))[pieces] * (30, 10, 10)
    assert same_parts(merge_pieces(pieces, lab, 6), merged_plainly(pieces, lab, 6))


def test_the_cheapest_pair_is_joined_first():
    pieces = np.arange(4)[None]
    lab = np.array([0.0, 4, 7, 9])[pieces][..., None] * (1, 0, 0)
    assert merge_pieces(pieces, lab, 3).tolist() == [[1, 2, 3, 3]]
    assert merge_pieces(pieces, lab, 2).tolist() == [
        [1, 1, 2, 2]
    ]  # two of size 1 rather than 1 and 2


def test_small_pieces_go_first():
    # 5 and 5 pixels 1 apart cost 2.5 x 1; 1 and 10 pixels 1.5 apart cost 10 / 11 x 2.25.
    pieces = np.array([[0] * 5 + [1] * 5 + [2] * 10 + [3]])
    lab = np.array([0.0, 1, 9, 10.5])[pieces][..., None] * (1, 0, 0)
    assert np.unique(merge_pieces(pieces, lab, 3)[0, -11:]).tolist() == [3]


def test_pieces_that_meet_at_a_corner_only_are_not_joined():
    pieces, lab = np.array([[0, 1], [2, 3]]), np.zeros((2, 2, 3))
    lab[0, 1], lab[1, 0] = 10, 50
    assert merge_pieces(pieces, lab, 3).tolist() == [[1, 1], [2, 3]]


def test_a_hundredth_of_the_picture_stays_and_less_is_joined_with_the_most_alike():
    pieces, lab = np.zeros((10, 10), int), np.zeros((10, 10, 3))
    pieces[5:], pieces[5, 5] = 1, 2
    lab[pieces == 1], lab[pieces == 2] = 40, 90
    assert len(np.unique(merge_pieces(pieces, lab, 8))) == 3
    wider = np.append(pieces, pieces[:, -1:], 1), np.append(lab, lab[:, -1:], 1)
    joined = merge_pieces(*wider, 8)
    assert len(np.unique(joined)) == 2
    assert joined[5, 5] == joined[9, 9] != joined[0, 0]


def test_the_smallest_of_the_small_is_joined_first():
    # 2 of 3 pixels lies beside 3 of 1 pixel; together they are large enough to stay.
    pieces = np.zeros((20, 20), int)
    pieces[10, 5:8], pieces[10, 8] = 1, 2
    lab = np.array([[0.0, 0, 0], [60, 0, 0], [61, 0, 0]])[pieces]
    joined = merge_pieces(pieces, lab, 8)
    assert (joined == 2).sum() == 4
    assert (joined[10, 5:9] == 2).all()


def test_labels_count_from_1_in_the_order_of_their_first_pixels():
    labels = segment(patchwork())
    values = labels.flatten().tolist()
    assert list(dict.fromkeys(values)) == list(range(1, 9))
    assert labels.dtype == torch.int64
    assert labels.shape == (36, 42)


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_few_in_one_piece_and_none_is_small(seed):
    labels = segment(patchwork(seed=seed), regions=5)
    assert 1 < labels.max() <= 5
    assert labels.unique(return_counts=True)[1].min() >= 0.01 * 36 * 42
    parts = [connected(labels.numpy() == one, connectivity=2) for one in range(1, 6)]
    assert all(part.max() <= 1 for part in parts)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 17)])
def test_tiny_photos_have_regions_too(size):
    labels = segment(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    assert labels.shape == size
    assert labels.min() == 1


def test_an_even_photo_is_one_region():
    assert segment(torch.full((3, 20, 30), 90, dtype=torch.uint8)).unique().tolist() == [1]


def test_regions_follow_from_the_photo_alone_and_leave_it_as_it_is():
    image = patchwork()
    kept, turned = image.clone(), image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(segment(image), segment(turned))
    assert torch.equal(image, kept)


def test_images_that_are_not_8_bit_are_refused():
    with pytest.raises(TypeError, match=r"'image' must be uint8 .* got torch.float32. Multiply v"):
        segment(torch.rand(3, 4, 4))


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 3, 4, 4)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \("):
        segment(torch.zeros(shape, dtype=torch.uint8))


def test_less_than_one_region_is_refused():
    with pytest.raises(ValueError, match="'regions' must be at least 1, got 0"):
        segment(patchwork(), regions=0)


@pytest.mark.parametrize("module", ["skimage.segmentation", "skimage.color"])
def test_a_missing_scikit_image_is_named_with_its_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"needs scikit-image.* pip install 'opmask\[train\]'"):
        segment(patchwork())


def covering(labels, truth):
    """How well the best region overlaps each that people drew (IoU), weighted by its size."""
    total = 0.0
    for one in truth.unique():
        wanted = truth == one
        overlaps = [
            ((labels == each) & wanted).sum() / ((labels == each) | wanted).sum()
            for each in labels.unique()
        ]
        total += float(max(overlaps) * wanted.sum())
    return total / truth.numel()


def test_regions_of_real_photos_follow_those_that_people_drew(data_root):
    paths = sorted((data_root / "bsds/images/validation").glob("*.jpg"))[:10]
    labels = [data_root / "bsds/annotations/validation" / f"{path.stem}.png" for path in paths]
    photos = [resize_photo(read_photo(*pair), 256) for pair in zip(paths, labels, strict=True)]
    grid = torch.arange(8).view(2, 4).repeat_interleave(128, 0).repeat_interleave(64, 1)
    found = torch.tensor([covering(segment(p.image), p.label_map) for p in photos])
    blind = torch.tensor([covering(grid, p.label_map) for p in photos])
    assert found.mean() > 0.4
    assert found.mean() > blind.mean() + 0.1

r"""Ground-truth masks: those of a retoucher that best undo what was done to an image.

(composite, real, regions) + retoucher -> ``fit_masks`` -> masks, to train a network with and to
score predicted masks against. Without regions masks are free at every pixel: they show what a set
of operators can express. The retoucher is an argument: nothing here knows its operators.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from opmask.color import check_image
from opmask.fitting import free
from opmask.fitting.solver import MaskBounds, Problem, minimise, pixels_at
from opmask.fitting.together import join
from opmask.operators.checks import check_count, check_number
from opmask.retouch import Retoucher

if TYPE_CHECKING:
    from opmask.perturb import PerturbationRecord


def fit_masks(
    retoucher: Retoucher,
    composite: Tensor,
    real: Tensor,
    regions: Tensor | None = None,
    *,
    pixels: int = 128,
    smoothness: float = 0.03,
    mask_size: int | None = None,
) -> dict[str, Tensor]:
    r"""The masks that best turn a composite back into the real image, without any network.

    With `regions` masks are constant in each region:

    .. math:: \min_{l \le m \le h} \frac{1}{n} \sum_{p=1}^n \lVert f(x_p, m) - y_p \rVert^2
              + 10^{-6} \sum_k \left( \frac{m_k - i_k}{s_k} \right)^2

    over the :math:`n` pixels of each region, in RGB, with :math:`f` the retoucher, :math:`i` the
    identity, :math:`l` and :math:`h` the ends of the range and :math:`s` half of it. The second
    term decides what the pixels leave open: a region of one colour gets the smallest change. For
    operators that are linear in RGB, such as ``Mul(RGB), Add(RGB)``, linear regression has the
    same answer.

    Colours are compared in RGB, not in the operators' colour space. There the regression would be
    linear in LAB as well; but hues of greys, and a and b of dark colours, would count as much as
    what can be seen. Such a regression is only the start: with differences weighed by what
    they make in RGB, it is within 2 % of its own forecast for most regions, and only the others
    are fitted further. The constants of a region depend on that region only, not on the rest of
    the batch. Where operators look at neighbours, as a blur does, all regions of an image are
    fitted together instead, and rendering it once for each of their constants is most of the work.

    Without `regions` masks are free at every pixel, and a third term holds neighbours together,
    the total variation with weight :math:`\lambda`, `smoothness`:

    .. math:: \min_{l \le m \le h} \frac{1}{n} \sum_{p=1}^n \left( \lVert f(x, m)_p - y_p \rVert^2
              + 10^{-3} \lVert u_p \rVert^2 + \lambda \lVert \nabla u_p \rVert \right), \qquad
              u_{p,k} = \frac{m_{p,k} - i_k}{s_k}

    over all :math:`n` pixels of an image. The second term weighs more than with regions: a colour
    has three numbers, and more masks than three could cancel each other where nothing was done.
    The gradient is that of all masks together, so that their edges fall into the same places; it
    is rounded off below 0.01. What is left of the error says what the operators *can* express, and
    so bounds what any network could reach with masks as smooth; the masks themselves are an edit
    by example. The fit starts from the best constants of the whole image, and is done where a step
    takes less than 1 % off what is minimised, or 0.1 % where operators look at neighbours. Each
    image is fitted by itself; of several a progress bar is shown.

    Args:
        retoucher: The retoucher, with operators that are differentiable in their masks.
        composite: The changed images :math:`x`, with shape :math:`(B, 3, H, W)`, RGB in
            :math:`[0, 1]`.
        real: The images to restore :math:`y`, with the shape and range of `composite`.
        regions: The region of each pixel, as integers in 0-65535, with shape :math:`(B, H, W)`,
            see :meth:`opmask.perturb.PerturbationRecord.region_map`; 0 is outside of all. The
            same number in two images is two regions. If `None`, masks are free at every pixel.
        pixels: At how many pixels of a region, evenly spread, colours are compared at most. Free
            masks are compared at all pixels; for them it is for the constants they start from.
        smoothness: The weight :math:`\lambda` of the total variation of free masks, in squared
            units of RGB: what a jump of half a range costs along an edge of one pixel. With 0
            each pixel is fitted alone, and three masks may imitate anything.
        mask_size: The long side of free masks, in pixels, at most; they are enlarged linearly. By
            default they have the size of the image. Fitting takes about 2 kB of memory for each
            pixel of the image.

    Returns:
        The masks by name, each with shape :math:`(B, 1, H, W)`, in operator units, in at least
        float32: constant in each region and the identity outside, or free.

    Raises:
        ValueError: If shapes or devices do not fit, images are not finite, regions are out of
            their range, `pixels` or `mask_size` is below 1, or `smoothness` is negative or not
            finite.
        TypeError: If images are not of a floating-point type, or regions are, `pixels` or
            `mask_size` is no whole number, or `retoucher` is no :class:`opmask.Retoucher`.

    References:
        | An Algorithm for Least-Squares Estimation of Nonlinear Parameters (Marquardt, 1963)
        | Nonlinear Total Variation Based Noise Removal Algorithms (Rudin, Osher and Fatemi, 1992)

    Example:
        >>> import opmask
        >>> real = 0.2 + 0.3 * torch.rand(1, 3, 8, 8)
        >>> regions = torch.arange(8).expand(1, 8, 8) // 6
        >>> composite = torch.where(regions[:, None] == 1, 2 * real, real)
        >>> masks = fit_masks(opmask.Retoucher(opmask.Mul(opmask.RGB)), composite, real, regions)
        >>> masks["r_mul"][0, 0, 0].round(decimals=3)
        tensor([1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 0.5000, 0.5000])
        >>> retoucher = opmask.Retoucher(opmask.Mul(opmask.RGB))
        >>> free = fit_masks(retoucher, composite, real, smoothness=1e-4)
        >>> free["r_mul"][0, 0, 0].round(decimals=1)
        tensor([1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 1.0000, 0.5000, 0.5000])
    """
    _check(retoucher, composite, real, regions)
    _check_numbers(pixels, smoothness, mask_size)
    dtype = torch.promote_types(composite.dtype, torch.float32)
    with torch.inference_mode(False):  # slopes are needed
        composite, real = (_plain(image).to(dtype) for image in (composite, real))
        if regions is None:
            return _fit_free(retoucher, composite, real, pixels, smoothness, mask_size)
        return _fit_regions(retoucher, composite, real, _plain(regions).long(), pixels)


def fit_record(
    record: PerturbationRecord,
    retoucher: Retoucher,
    composite: Tensor,
    real: Tensor,
    label_map: Tensor,
) -> dict[str, Tensor]:
    r"""The masks, constant in each region, that best undo what a record says was done.

    This is :func:`fit_masks` for one sample, with the regions of its record.

    Args:
        record: What was done to the photo.
        retoucher: The retoucher that the masks are for.
        composite: The changed image, with shape :math:`(3, H, W)`, RGB in :math:`[0, 1]`.
        real: The image to restore, with the shape and range of `composite`.
        label_map: The class of each pixel of the photo, integers, with shape :math:`(H', W')`. If
            the images were resized it is resized along.

    Returns:
        The masks by name, each with shape :math:`(1, H, W)`, in operator units; the identity
        outside the regions.

    Raises:
        ValueError: If shapes do not fit.
        TypeError: If the images are not of a floating-point type, or the label map is.

    Example:
        >>> import opmask
        >>> from opmask.perturb import PerturbationRecord, Filter, RegionChange, composite
        >>> image = torch.full((3, 1, 4), 128, dtype=torch.uint8)
        >>> label_map = torch.tensor([[1, 3, 3, 0]])
        >>> record = PerturbationRecord(7, (RegionChange(3, (Filter("brightness", 1.25),)),))
        >>> changed, real, _, _ = composite(image, label_map, record)
        >>> retoucher = opmask.Retoucher(opmask.Mul(opmask.RGB))
        >>> masks = fit_record(record, retoucher, changed, real, label_map)
        >>> masks["r_mul"].round(decimals=2)
        tensor([[[1.0000, 0.8000, 0.8000, 1.0000]]])
    """
    regions = record.region_map(label_map, (composite.shape[-2], composite.shape[-1]))
    masks = fit_masks(retoucher, composite[None], real[None], regions[None])
    return {name: mask[0] for name, mask in masks.items()}


def _fit_regions(
    retoucher: Retoucher, composite: Tensor, real: Tensor, regions: Tensor, pixels: int
) -> dict[str, Tensor]:
    bounds = _bounds(retoucher, composite)
    keys = _region_numbers(regions)
    table = bounds.identity[:, None].repeat(1, int(keys.max()) + 1)
    inside, present, counts = _sort_by_region(regions, keys)
    if len(present):
        places, weight = _sample_pixels(inside, counts, pixels)
        x, y = pixels_at(composite, places), pixels_at(real, places)
        problem = Problem(retoucher, x, y, weight.to(x.dtype), bounds)
        if _is_pixelwise(retoucher, composite):
            found = minimise(problem)
        else:
            together = join(problem, composite, real, inside, counts, places)
            found = together.apart(minimise(together.problem))
        table[:, present] = found.T
    planes = table.gather(1, keys.expand(len(table), -1))
    masks = planes.view(-1, len(regions), 1, *regions.shape[1:])
    return dict(zip(retoucher.ranges, masks, strict=True))


def _fit_free(
    retoucher: Retoucher,
    composite: Tensor,
    real: Tensor,
    pixels: int,
    smoothness: float,
    mask_size: int | None,
) -> dict[str, Tensor]:
    everywhere = torch.ones_like(composite[:, 0], dtype=torch.long)
    constants = _fit_regions(retoucher, composite, real, everywhere, pixels)
    start = torch.cat([mask[:, :, 0, 0] for mask in constants.values()], 1)
    bounds = _bounds(retoucher, composite)
    sizes = free.mask_sizes(composite.shape[-2], composite.shape[-1], mask_size)
    pixelwise = _is_pixelwise(retoucher, composite)
    silent = None if len(composite) > 1 else True  # None: shown on a terminal only
    found = [
        free.minimise(retoucher, x[None], y[None], bounds, values, smoothness, sizes, pixelwise)
        for x, y, values in zip(
            tqdm(composite, "free masks", disable=silent), real, start, strict=True
        )
    ]
    planes = torch.stack(found, 1)[:, :, None]
    return dict(zip(retoucher.ranges, planes, strict=True))


def _bounds(retoucher: Retoucher, like: Tensor) -> MaskBounds:
    ranges = retoucher.ranges.values()
    return MaskBounds(
        like.new_tensor([r.identity for r in ranges]),
        like.new_tensor([r.low for r in ranges]),
        like.new_tensor([r.high for r in ranges]),
    )


def _region_numbers(regions: Tensor) -> Tensor:
    """A number for each pixel of the flattened batch, the same for all of its region."""
    image = torch.arange(len(regions), device=regions.device)[:, None]
    return (image * (regions.max() + 1) + regions.flatten(1)).flatten()


def _sort_by_region(regions: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where regions are in the flattened batch, one after the other; their keys; their sizes."""
    inside = regions.flatten().nonzero().flatten()
    found, order = keys[inside].int().sort(stable=True)  # half the bytes sort faster
    present, counts = torch.unique_consecutive(found, return_counts=True)
    return inside[order], present.long(), counts


def _sample_pixels(inside: Tensor, counts: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Evenly spread pixels of each region, (R, P), and how much each counts, (R, 1, P)."""
    counts = counts[:, None]
    taken = counts.clamp(max=pixels)
    number = torch.arange(int(taken.max()), device=counts.device)
    used = number < taken  # a small region has fewer; its first pixel fills its row
    step = torch.where(used, (2 * number + 1) * counts // (2 * taken), 0)
    return inside[counts.cumsum(0) - counts + step], (used / taken)[:, None]


def _is_pixelwise(retoucher: Retoucher, like: Tensor) -> bool:
    """Whether what a pixel becomes depends on its own colour and masks alone."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(3 + len(retoucher.ranges), 32 * 32, generator=generator)
    order = torch.randperm(32 * 32, generator=generator)
    # Half of the pixels change their places, and the other half its colours as well.
    shuffled = torch.cat([numbers[:, order[:512]], numbers[:, order[512:]] / 2], 1)
    image, offsets = (
        torch.stack([numbers, shuffled]).view(2, -1, 32, 32).to(like).tensor_split([3], 1)
    )
    masks = {
        name: r.scale(r.identity + 0.1 * offset)
        for (name, r), offset in zip(retoucher.ranges.items(), offsets.split(1, 1), strict=True)
    }
    first, second = retoucher(image, masks).flatten(2).cpu()
    return torch.allclose(first[:, order[:512]], second[:, :512], atol=1e-5)


def _plain(tensor: Tensor) -> Tensor:
    """Without gradients, and with none of the limits of inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _check(retoucher: Retoucher, composite: Tensor, real: Tensor, regions: Tensor | None) -> None:
    if not isinstance(retoucher, Retoucher):
        raise TypeError(
            f"'retoucher' must be an opmask.Retoucher, got {type(retoucher).__name__}. "
            "Put operators into one."
        )
    for name, image in (("composite", composite), ("real", real)):
        check_image(image, name)
        if not image.isfinite().all():
            raise ValueError(f"'{name}' must be finite, got infinity or what is no number.")
    if (real.shape, real.device) != (composite.shape, composite.device):
        raise ValueError(
            f"'real' must have the shape and device of 'composite', {tuple(composite.shape)} on "
            f"{composite.device}, got {tuple(real.shape)} on {real.device}."
        )
    if regions is None:
        return
    if not isinstance(regions, Tensor) or regions.is_floating_point():
        kind = regions.dtype if isinstance(regions, Tensor) else type(regions).__name__
        raise TypeError(
            f"'regions' must be a tensor of integers, got {kind}. Give each pixel the number of "
            "its region, and 0 outside of all."
        )
    if regions.shape != composite[:, 0].shape or regions.device != composite.device:
        raise ValueError(
            f"'regions' must have shape {tuple(composite[:, 0].shape)} to fit the images, on "
            f"{composite.device}, got {tuple(regions.shape)} on {regions.device}."
        )
    low, high = (int(end) for end in regions.long().aminmax())  # of uint16 torch knows none
    if low < 0 or high > 65535:
        raise ValueError(f"'regions' must be in 0-65535, got {low} to {high}.")


def _check_numbers(pixels: int, smoothness: float, mask_size: int | None) -> None:
    check_count("pixels", pixels, 1)
    if not 0 <= check_number("smoothness", smoothness) < math.inf:
        raise ValueError(f"'smoothness' must be finite and at least 0, got {smoothness}.")
    if mask_size is not None:
        check_count("mask_size", mask_size, 1)

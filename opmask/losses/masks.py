r"""Losses on the masks themselves, and on where they act; all of them optional.

The paper leaves masks to themselves and compares images only. These make masks smooth or sparse,
or tell them what the training data knows: where a composite was changed, and which constants
would undo it. A mask is a tensor in a dictionary here; what it does is not known.

    masks, identity -> mask_total_variation, mask_sparsity -> loss
    restored, composite, region -> region_supervision -> loss
    masks, fitted masks -> mask_supervision -> loss
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.color import check_region
from opmask.losses._common import check_images, check_positive


def mask_total_variation(masks: Mapping[str, Tensor]) -> Tensor:
    r"""How much masks differ from one pixel to the next.

    .. math:: \frac{1}{K} \sum_k \left( \operatorname{mean} |m_{k,h+1,w} - m_{k,h,w}|
              + \operatorname{mean} |m_{k,h,w+1} - m_{k,h,w}| \right)

    It is the same for the masks :math:`m` and for their distances from the identity, which is one
    number for each mask.

    Args:
        masks: The :math:`K` masks by name, each with shape :math:`(B, 1, H, W)`, in operator
            units, at least 2 pixels high and wide.

    Returns:
        The loss, with shape :math:`()`; 0 for constant masks.

    Raises:
        ValueError: If there are no masks, or their shapes differ.

    Example:
        >>> ramp = torch.linspace(0, 1, 5).expand(1, 1, 4, 5)
        >>> mask_total_variation({"l_add": ramp})
        tensor(0.2500)
    """
    stack = _stack(masks)
    return stack.diff(dim=-2).abs().mean() + stack.diff(dim=-1).abs().mean()


def mask_sparsity(masks: Mapping[str, Tensor], identity: Mapping[str, float]) -> Tensor:
    r"""How far masks are from doing nothing.

    .. math:: \frac{1}{K} \sum_k \operatorname{mean} |m_k - i_k|

    Args:
        masks: The :math:`K` masks :math:`m_k` by name, each with shape :math:`(B, 1, H, W)`, in
            operator units.
        identity: The identity :math:`i_k` of each, in operator units, such as
            `{name: r.identity for name, r in retoucher.ranges.items()}`.

    Returns:
        The loss, with shape :math:`()`; 0 for masks at the identity.

    Raises:
        KeyError: If `identity` has other names than `masks`.
        ValueError: If there are no masks, or their shapes differ.

    Example:
        >>> mask_sparsity({"l_mul": torch.full((1, 1, 4, 4), 0.9)}, {"l_mul": 1.0})
        tensor(0.1000)
    """
    _check_names("identity", identity, masks)
    return _stack({name: mask - identity[name] for name, mask in masks.items()}).abs().mean()


def mask_supervision(masks: Mapping[str, Tensor], fitted: Mapping[str, Tensor]) -> Tensor:
    r"""How far masks are from those that are known to undo the change.

    .. math:: \frac{1}{K} \sum_k \operatorname{mean} |m_k - f_k|

    Args:
        masks: The :math:`K` masks :math:`m_k` by name, each with shape :math:`(B, 1, H, W)`, in
            operator units.
        fitted: The known masks :math:`f_k`, as of :func:`opmask.fit_masks`, with the names
            and shapes of `masks`. No gradient goes there.

    Returns:
        The loss, with shape :math:`()`.

    Raises:
        KeyError: If `fitted` has other names than `masks`.
        ValueError: If there are no masks, or shapes differ.

    Example:
        >>> predicted = {"l_add": torch.zeros(1, 1, 4, 4)}
        >>> mask_supervision(predicted, {"l_add": torch.full((1, 1, 4, 4), -0.25)})
        tensor(0.2500)
    """
    _check_names("fitted", fitted, masks)
    stack, target = _stack(masks), _stack({name: fitted[name] for name in masks}, "fitted")
    if target.shape != stack.shape:
        raise ValueError(
            f"'fitted' must have the shape of 'masks', {_single(stack)}, got {_single(target)}."
        )
    return (stack - target.detach()).abs().mean()


def region_supervision(
    input: Tensor,
    composite: Tensor,
    region: Tensor,
    threshold: float = 4 / 255,
    softness: float = 1 / 255,
) -> Tensor:
    r"""Cross entropy of the region, given how much each pixel was changed.

    .. math:: \operatorname{mean} \, \operatorname{bce}
              \left( \log \frac{c + s}{t + s},\; r \right), \qquad c = \max_k |x_k - y_k|

    A pixel that is changed by the threshold :math:`t` of :func:`opmask.metrics.localization_iou`
    is as likely inside the region as outside. The softness :math:`s` bounds the gradient where
    nothing was changed yet. Being blind to the direction of the change, the loss is to be added to
    one that compares colours.

    Args:
        input: The retouched image :math:`x`, with shape :math:`(B, C, H, W)`, in :math:`[0, 1]`.
        composite: The image :math:`y` before, with the shape and range of `input`.
        region: The area :math:`r` to be changed, with shape :math:`(B, 1, H, W)`, in
            :math:`[0, 1]`.
        threshold: The change :math:`t` at which both are as likely, in image units.
        softness: The change :math:`s` that hardly counts, in image units.

    Returns:
        The loss, with shape :math:`()`.

    Raises:
        TypeError: If an image or the region is not floating point (the region may be bool).
        ValueError: If the shapes do not fit, or a constant is not positive.

    Example:
        >>> composite, region = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
        >>> region_supervision(composite + 4 / 255, composite, region)
        tensor(0.6931)
        >>> region_supervision(composite + 0.5, composite, region)
        tensor(0.0382)
    """
    check_images(input, composite)
    check_region(region, input, "input")
    check_positive("threshold", threshold)
    check_positive("softness", softness)
    change = (input - composite).abs().amax(dim=1, keepdim=True)
    logits = ((change + softness) / (threshold + softness)).log()
    return F.binary_cross_entropy_with_logits(logits, region.to(logits.dtype))


class MaskTotalVariation(nn.Module):
    r"""Total variation of masks as a module, see :func:`mask_total_variation`.

    Example:
        >>> MaskTotalVariation()
        MaskTotalVariation()
    """

    def forward(self, masks: Mapping[str, Tensor]) -> Tensor:
        """The loss of `masks`, as for :func:`mask_total_variation`."""
        return mask_total_variation(masks)


class MaskSparsity(nn.Module):
    r"""Distance of masks from the identity as a module, see :func:`mask_sparsity`.

    Args:
        identity: The identity of each mask, in operator units.

    Example:
        >>> MaskSparsity({"l_mul": 1.0})
        MaskSparsity(identity={'l_mul': 1.0})
    """

    def __init__(self, identity: Mapping[str, float]) -> None:
        super().__init__()
        self.identity = dict(identity)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"identity={self.identity}"

    def forward(self, masks: Mapping[str, Tensor]) -> Tensor:
        """The loss of `masks`, as for :func:`mask_sparsity`."""
        return mask_sparsity(masks, self.identity)


class MaskSupervision(nn.Module):
    r"""Distance of masks from known ones as a module, see :func:`mask_supervision`.

    Example:
        >>> MaskSupervision()
        MaskSupervision()
    """

    def forward(self, masks: Mapping[str, Tensor], fitted: Mapping[str, Tensor]) -> Tensor:
        """The loss of `masks` against `fitted`, as for :func:`mask_supervision`."""
        return mask_supervision(masks, fitted)


class RegionSupervision(nn.Module):
    r"""Cross entropy of the region as a module, see :func:`region_supervision`.

    Args:
        threshold: The change at which inside and outside are as likely, in image units.
        softness: The change that hardly counts, in image units.

    Raises:
        ValueError: If a constant is not positive.

    Example:
        >>> RegionSupervision(threshold=0.02, softness=0.005)
        RegionSupervision(threshold=0.02, softness=0.005)
    """

    def __init__(self, threshold: float = 4 / 255, softness: float = 1 / 255) -> None:
        super().__init__()
        check_positive("threshold", threshold)
        check_positive("softness", softness)
        self.threshold = threshold
        self.softness = softness

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"threshold={self.threshold}, softness={self.softness}"

    def forward(self, input: Tensor, composite: Tensor, region: Tensor) -> Tensor:
        """The loss of `input`, given the `region`, as for :func:`region_supervision`."""
        return region_supervision(input, composite, region, self.threshold, self.softness)


def _stack(masks: Mapping[str, Tensor], argument: str = "masks") -> Tensor:
    """The masks, in one tensor of shape (K, B, 1, H, W)."""
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    if not shapes:
        raise ValueError(f"'{argument}' must hold at least one mask, got none.")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"'{argument}' must have one shape, got {shapes}.")
    return torch.stack(list(masks.values()))


def _single(stack: Tensor) -> tuple[int, ...]:
    return tuple(stack.shape[1:])


def _check_names(argument: str, other: Mapping[str, object], masks: Mapping[str, Tensor]) -> None:
    if other.keys() != masks.keys():
        raise KeyError(
            f"'{argument}' must have exactly the names of 'masks', {list(masks)}, "
            f"got {list(other)}."
        )

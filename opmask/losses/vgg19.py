r"""The perceptual loss of the reference code, on one layer of VGG19.

The paper's text names LPIPS; its code configures this one, and passes the arguments the wrong way
round, so that it never had a gradient. Here it has one::

    restored, real -> trunk -> features of conv5_4 -> vgg19_perceptual -> loss
"""

from __future__ import annotations

import os
from functools import lru_cache

import torch
from torch import Tensor, nn

from opmask.losses._common import check_reduction, reduce
from opmask.losses.trunks import build_trunk, check_pair, constant, locate


def vgg19_perceptual(
    input: Tensor,
    target: Tensor,
    *,
    weights: str | os.PathLike[str] | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Mean absolute difference of VGG19's last convolution, `conv5_4` before its ReLU.

    .. math:: \frac{1}{C H' W'} \sum_{c,h,w} \left| \phi(x)_{chw} - \phi(y)_{chw} \right|

    With RGB in :math:`[0, 1]` it is the usual VGG loss. With LAB in :math:`[-1, 1]`, see the
    example, it is what the reference code configures: LAB taken for RGB, with the mean and
    deviation of ImageNet's RGB photos. No training has ever used that one: the reference code
    passes the real image first and the prediction second, and the second is detached.

    Args:
        input: The predicted image :math:`x`, with shape :math:`(B, 3, H, W)`, RGB in
            :math:`[0, 1]`, at least 16 pixels high and wide.
        target: The image :math:`y` to match, with the shape and range of `input`. It is detached:
            no gradient reaches it.
        weights: The file of VGG19's convolution weights, `None` or `"random"`, as in
            :func:`opmask.losses.lpips`.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Returns:
        The loss, with shape :math:`()`, or :math:`(B)` if `reduction` is `"none"`, in at least
        float32, also under autocast. The network is kept for the next call with the same
        settings.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes do not fit, `reduction` is unknown, or the file does not hold
            VGG19's weights.
        FileNotFoundError: If there is no file of weights.
        ImportError: If torchvision is not installed.

    References:
        | Perceptual Losses for Real-Time Style Transfer and Super-Resolution
          (Johnson et al., 2016)
        | https://arxiv.org/abs/1603.08155

    Example:
        >>> from opmask import LAB_CENTERED
        >>> restored, real = torch.rand(2, 1, 3, 32, 32)
        >>> rgb = vgg19_perceptual(restored, real, weights="random")
        >>> lab = [LAB_CENTERED.from_rgb(image) for image in (restored, real)]
        >>> as_configured = vgg19_perceptual(*lab, weights="random")
    """
    dtype = torch.promote_types(input.dtype, torch.float32)
    check_reduction(reduction)
    module = _kept(locate("vgg19", weights), input.device, dtype)
    return reduce(module(input, target), reduction)


class VGG19Perceptual(nn.Module):
    r"""The loss on VGG19's last convolution as a module, see :func:`vgg19_perceptual`.

    It has no parameters and an empty state_dict, and computes in the precision that it was moved
    to, float32 at first, whatever the precision of the images and of autocast.

    Args:
        weights: The file of VGG19's weights, `None` or `"random"`.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Raises:
        ValueError: If `reduction` is unknown or the file does not hold VGG19's weights.
        FileNotFoundError: If there is no file of weights.
        ImportError: If torchvision is not installed.

    Example:
        >>> loss = VGG19Perceptual(weights="random", reduction="none")
        >>> loss(torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    average: Tensor
    deviation: Tensor

    def __init__(
        self, *, weights: str | os.PathLike[str] | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.weights = locate("vgg19", weights)
        self.reduction = reduction
        self.trunk = build_trunk("vgg19", self.weights)[:-1]  # without the last ReLU
        self.register_buffer("average", constant(0.485, 0.456, 0.406), persistent=False)
        self.register_buffer("deviation", constant(0.229, 0.224, 0.225), persistent=False)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"weights={self.weights!r}, reduction={self.reduction!r}"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` against `target`, as for :func:`vgg19_perceptual`."""
        check_pair("vgg19", input, target)
        with torch.autocast(input.device.type, enabled=False):
            difference = self._features(input) - self._features(target.detach())
        return reduce(difference.abs().mean((1, 2, 3)), self.reduction)

    def _features(self, image: Tensor) -> Tensor:
        return self.trunk((image.to(self.average.dtype) - self.average) / self.deviation)


@lru_cache(maxsize=4)
def _kept(weights: str, device: torch.device, dtype: torch.dtype) -> VGG19Perceptual:
    # Tensors made in inference mode would be of no use to a later training step.
    with torch.inference_mode(False):
        return VGG19Perceptual(weights=weights, reduction="none").to(device, dtype)

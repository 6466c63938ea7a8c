r"""The perceptual loss of the paper's text, LPIPS.

Two images are compared by what an ImageNet network sees in them, with weights for each feature
that were fitted to human judgement::

    restored, real -> trunk -> features of five layers -> lpips -> loss
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from opmask.losses._common import check_reduction, reduce
from opmask.losses.trunks import build_trunk, cached_file, check_pair, constant, locate

Net = Literal["vgg", "alex"]

TRUNKS: dict[Net, str] = {"vgg": "vgg16", "alex": "alexnet"}
"""The network that each name stands for."""

TAPS = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}
"""The ReLU layers that are compared, numbered as in torchvision."""


def lpips(
    input: Tensor,
    target: Tensor,
    net: Net = "vgg",
    *,
    weights: str | os.PathLike[str] | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Learned perceptual image patch similarity, a distance: 0 for equal images.

    .. math:: \sum_l \frac{1}{H_l W_l} \sum_{h,w} \sum_c w_{lc}
              \left( \hat{x}^l_{chw} - \hat{y}^l_{chw} \right)^2

    where :math:`\hat{x}^l` are the features of layer :math:`l`, scaled to unit length at each
    pixel, and :math:`w_l` the fitted weights of version 0.1, which the package `lpips` brings.

    Whoever trains on `"vgg"` and reports LPIPS (VGG) optimizes the metric; `"alex"` is the
    cross-check. The reference code configures another loss, see
    :func:`opmask.losses.vgg19_perceptual`.

    Args:
        input: The predicted image :math:`x`, with shape :math:`(B, 3, H, W)`, RGB in
            :math:`[0, 1]`, at least 16 (`"vgg"`) or 31 (`"alex"`) pixels high and wide.
        target: The image :math:`y` to match, with the shape and range of `input`.
        net: `"vgg"` for VGG16, `"alex"` for AlexNet.
        weights: The file of the network's convolution weights with torchvision's names, in half
            or single precision, with or without the classifier. `None`: the file in torchvision's
            cache, which is never downloaded here. `"random"`: random weights, always the same,
            whose values mean nothing and are for tests only.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Returns:
        The loss, with shape :math:`()`, or :math:`(B)` if `reduction` is `"none"`, in at least
        float32, also under autocast. The network is kept for the next call with the same
        settings.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes do not fit, `net` or `reduction` is unknown, or the file does
            not hold the network's weights.
        FileNotFoundError: If there is no file of weights.
        ImportError: If the package `lpips` is not installed, or torchvision for `"vgg"`.

    References:
        | The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
          (Zhang et al., 2018)
        | https://arxiv.org/abs/1801.03924

    Example:
        >>> real = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
        >>> lpips(real, real, "alex", weights="random")
        tensor(0.)
    """
    dtype = torch.promote_types(input.dtype, torch.float32)
    _check_net(net)
    check_reduction(reduction)
    module = kept(net, locate(TRUNKS[net], weights), input.device, dtype)
    return reduce(module(input, target), reduction)


class LPIPS(nn.Module):
    r"""Learned perceptual image patch similarity as a module, see :func:`lpips`.

    It has no parameters and an empty state_dict, and computes in the precision that it was moved
    to, float32 at first, whatever the precision of the images and of autocast.

    Args:
        net: `"vgg"` for VGG16, `"alex"` for AlexNet.
        weights: The file of the network's weights, `None` or `"random"`.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Raises:
        ValueError: If `net` or `reduction` is unknown, or the file does not hold the network's
            weights.
        FileNotFoundError: If there is no file of weights.
        ImportError: If the package `lpips` is not installed, or torchvision for `"vgg"`.

    Example:
        >>> loss = LPIPS("alex", weights="random", reduction="none")
        >>> loss(torch.zeros(2, 3, 64, 64), torch.ones(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        net: Net = "vgg",
        *,
        weights: str | os.PathLike[str] | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        _check_net(net)
        check_reduction(reduction)
        self.net = net
        self.weights = locate(TRUNKS[net], weights)
        self.reduction = reduction
        self.trunk = build_trunk(TRUNKS[net], self.weights)
        self.register_buffer("shift", constant(-0.030, -0.088, -0.188), persistent=False)
        self.register_buffer("scale", constant(0.458, 0.448, 0.450), persistent=False)
        for layer, head in enumerate(_read_heads(net)):
            self.register_buffer(f"head{layer}", head, persistent=False)

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"net={self.net!r}, weights={self.weights!r}, reduction={self.reduction!r}"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` against `target`, as for :func:`lpips`."""
        check_pair(TRUNKS[self.net], input, target)
        with torch.autocast(input.device.type, enabled=False):
            pairs = zip(self._features(input), self._features(target), strict=True)
            distances = [
                (self.get_buffer(f"head{layer}") * (x - y).square()).sum(1).mean((1, 2))
                for layer, (x, y) in enumerate(pairs)
            ]
        return reduce(torch.stack(distances).sum(0), self.reduction)

    def _features(self, image: Tensor) -> list[Tensor]:
        """The features of the five layers, of unit length at each pixel."""
        x = (2 * image.to(self.shift.dtype) - 1 - self.shift) / self.scale
        features = []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in TAPS[self.net]:
                features.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return features


def lpips_at_hand() -> list[LPIPS]:
    """The networks whose weights lie in torchvision's cache, on the CPU; none without `lpips`."""
    if importlib.util.find_spec("lpips") is None:
        return []
    paths = {net: cached_file(trunk) for net, trunk in TRUNKS.items()}
    cpu = torch.device("cpu")
    return [
        kept(net, str(path), cpu, torch.float32) for net, path in paths.items() if path.is_file()
    ]


@lru_cache(maxsize=4)
def kept(net: Net, weights: str, device: torch.device, dtype: torch.dtype) -> LPIPS:
    """The module of :func:`lpips` with these settings, built at the first call."""
    # Tensors made in inference mode would be of no use to a later training step.
    with torch.inference_mode(False):
        return LPIPS(net, weights=weights, reduction="none").to(device, dtype)


def _check_net(net: str) -> None:
    if net not in TRUNKS:
        raise ValueError(f"'net' must be 'vgg' or 'alex', got {net!r}.")


def _read_heads(net: Net) -> list[Tensor]:
    """The fitted weight of each channel, for each layer, with shape (C, 1, 1)."""
    # Found, not imported: the package would load torchvision, SciPy and more.
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        raise ImportError(
            "LPIPS needs the fitted weights in the package lpips. "
            "Install it with `pip install opmask[train]`."
        )
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{layer}.model.1.weight"][0] for layer in range(len(TAPS[net]))]

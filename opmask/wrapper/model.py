r"""The wrapper: any image-to-image network becomes one that predicts operator masks.

Data flow: `image -> preprocess -> pad -> backbone -> head -> logits -> crop -> retoucher ->
Retouched(image, masks)`. An untrained wrapper returns its input, because logits 0 are identity
masks.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree

from opmask.checks import check_backbone, check_image, check_inputs, precision, with_region
from opmask.retouch import Retoucher, lab_retoucher
from opmask.wrapper.calibration import Calibration
from opmask.wrapper.heads import MaskHead, OutputHead
from opmask.wrapper.modes import evaluating
from opmask.wrapper.probing import Found, find_head, find_start
from opmask.wrapper.sizes import (
    Accepted,
    check_multiple,
    check_size,
    find_sizes,
    fit_longer_side,
    pad_to_multiple,
    resize,
)

__all__ = ["OperatorMaskWrapper", "Retouched"]

# Sides of the images that a network is tried on. Not square where possible: that tells maps of the
# image from pooled maps, fixed grids and window partitions, which look alike on a square.
PROBES = ((64, 96), (128, 192), (224, 336), (96, 144), (224, 224), (256, 256))


class Retouched(NamedTuple):
    r"""What a model returns.

    Args:
        image: The retouched image, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
        masks: The operator masks by name, each with shape :math:`(B, 1, H, W)`, in operator units.
    """

    image: Tensor
    masks: dict[str, Tensor]


# torch.export.save needs a name for every container it meets.
_pytree._register_namedtuple(Retouched, serialized_type_name="opmask.Retouched")


class OperatorMaskWrapper(nn.Module):
    r"""Predicts operator masks with any image-to-image network, and applies them.

    The network runs as it is. A hook keeps the input of its last layer, and a new zero layer turns
    that into one logit map for each mask, so an untrained wrapper returns its input. The network's
    own output is not used, its `state_dict` keys stay as they were, and parameters after the
    tapped layer are frozen (`unused` names them), since no gradient reaches them.

    Args:
        backbone: The network, of which any part of the output may be anything: only its features
            are used.
        retoucher: What the masks do; :func:`lab_retoucher` if `None`.
        region: Whether the network gets a fourth input channel that says where the image was
            changed: 1 inside, 0 outside, soft between, -1 unknown.
        head: The name of the layer to read from, if the one that is found is not the right one; or
            an :class:`OutputHead`, for a network whose own output is the logits.
            (:func:`opmask.load` hands in the head of a file.)
        call: How to call the network, as `call(backbone, input)`, if `backbone(input)` is not it.
        preprocess: Maps the RGB image in :math:`[0, 1]` to the network's input, such as
            `opmask.LAB_CENTERED.from_rgb` or `torchvision.transforms.Normalize(mean, std)`.
        example: An image batch that the network accepts, with shape :math:`(B, 3, H, W)`, if it
            has a fixed size or wants a batch of 1. Best not square.
        multiple_of: The number that height and width must be multiples of; searched for if `None`.
        size: The size at which the network runs: the longer side, or height and width. The masks
            are enlarged. If `None`, the image's own size, or the only one that the network
            accepts.

    Attributes:
        calibration: How far to trust the regions that the model finds by itself, for
            :func:`opmask.inference.harmonize`; `None` until one is set.

    Raises:
        TypeError: If `backbone` is compiled, scripted or wrapped for several devices: do that to
            the wrapper instead; or if an argument is of another kind.
        ValueError: If there is no way to read masks from the network: the message says what was
            tried, and which argument to pass; or if an argument is out of its range, or the
            network has no weights or such as cannot learn.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import opmask, torch
        >>> model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet())
        >>> composite = torch.rand(1, 3, 97, 131)
        >>> image, masks = model.eval()(composite)
        >>> bool((image - composite).abs().max() < 1e-4)
        True
        >>> masks["l_add"].shape
        torch.Size([1, 1, 97, 131])
    """

    def __init__(
        self,
        backbone: nn.Module,
        retoucher: Retoucher | None = None,
        *,
        region: bool = False,
        head: str | MaskHead | OutputHead | None = None,
        call: Callable[[nn.Module, Tensor], object] | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        example: Tensor | None = None,
        multiple_of: int | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        check_backbone(backbone)
        if retoucher is not None and not isinstance(retoucher, Retoucher):
            raise TypeError(f"'retoucher' must be a Retoucher, got {type(retoucher).__name__}.")
        if multiple_of is not None:
            check_multiple(multiple_of)
        if size is not None:
            check_size(size)
        with torch.inference_mode(False):  # whose tensors cannot learn
            self.retoucher = lab_retoucher() if retoucher is None else retoucher
            self.backbone = backbone
            self.region = region
            self.call, self.preprocess = call, preprocess
            self.calibration: Calibration | None = None
            self.head, self.accepted, unused, doubt = self._probe(head, example, multiple_of)
        self.size = self._fixed_or(size)
        self.unused = [name for name, p in backbone.named_parameters() if p in unused]
        if doubt:
            warnings.warn(doubt, stacklevel=2)
        # No gradient reaches them, and DistributedDataParallel would fail.
        for parameter in unused:
            parameter.requires_grad_(False)

    @property
    def multiple_of(self) -> int:
        """The number that the backbone's input sizes are padded to a multiple of."""
        return self.accepted.multiple_of

    def predict(
        self,
        image: Tensor,
        region: Tensor | None = None,
        *,
        size: int | tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        r"""Predicts the operator masks of an image.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`; height and
                width at least 16. The network gets it in the precision of its weights.
            region: Where it was changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`, or -1
                where unknown. Only for models built with `region=True`; absent means unknown
                everywhere.
            size: Overrides the `size` of the model for this call.

        Returns:
            The masks by name, each with shape :math:`(B, 1, H, W)`, in operator units and at
            least float32.

        Raises:
            ValueError: If a shape or `size` is wrong, or a region is handed to a model that is
                blind to it.
            TypeError: If the image is not of a floating-point type.
            RuntimeError: If the model is in training mode, but its network switches gradients off.
        """
        check_inputs(image, region, self.region)
        full = image.shape[-2], image.shape[-1]
        working = self._working_size(full, size)
        image = image.to(torch.promote_types(precision(self.backbone, image), torch.float32))
        masks = self.retoucher.from_logits(self._logits(resize(image, working), region, working))
        return {name: resize(mask, full) for name, mask in masks.items()}

    def forward(self, image: Tensor, region: Tensor | None = None) -> Retouched:
        r"""Predicts the operator masks of an image and applies them.

        Args:
            image: As for :meth:`predict`.
            region: As for :meth:`predict`.

        Returns:
            The retouched image and the masks.

        Raises:
            ValueError: As for :meth:`predict`.
            TypeError: As for :meth:`predict`.
            RuntimeError: As for :meth:`predict`.
        """
        masks = self.predict(image, region)
        return Retouched(self.retoucher(image, masks), masks)

    def extra_repr(self) -> str:
        """Sizes and region, for printing."""
        fixed = f", size={self.size}" if self.size else ""
        return f"multiple_of={self.multiple_of}, region={self.region}{fixed}"

    def _logits(self, image: Tensor, region: Tensor | None, size: tuple[int, int]) -> Tensor:
        padded = pad_to_multiple(image, self.accepted)
        if region is not None:
            region = F.interpolate(region.to(image.dtype), size=size, mode="nearest-exact")
            region = pad_to_multiple(region, self.accepted)
        learns = self.training and torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in self.backbone.parameters()
        )  # fmt: skip
        logits: Tensor = self.head(
            lambda: self._run(padded, region), tuple(padded.shape[-2:]), learns
        )
        return logits[..., : size[0], : size[1]]

    def _run(self, image: Tensor, region: Tensor | None = None) -> object:
        """Calls the backbone with the image, and with the region plane if it has one."""
        x = image if self.preprocess is None else self.preprocess(image)
        if self.region:
            x = with_region(x, region)
        x = x.to(precision(self.backbone, x))
        return self.backbone(x) if self.call is None else self.call(self.backbone, x)

    def _working_size(
        self, full: tuple[int, int], size: int | tuple[int, int] | None
    ) -> tuple[int, int]:
        if size is not None:
            check_size(size)
        wanted = self.accepted.fixed or size or self.size or full
        return fit_longer_side(full, wanted) if isinstance(wanted, int) else wanted

    # --- construction ---

    def _fixed_or(self, size: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
        fixed = self.accepted.fixed
        if fixed and size not in (None, fixed, max(fixed)):
            raise ValueError(
                f"'size' must be {fixed}, the only one that {type(self.backbone).__name__} "
                f"accepts, got {size}. Leave it out."
            )
        return fixed or size

    def _probe(
        self,
        head: str | MaskHead | OutputHead | None,
        example: Tensor | None,
        multiple_of: int | None,
    ) -> _Probed:
        """Finds head and sizes on the first probe accepted; the random state stays as it was."""
        device = next(self.backbone.parameters()).device
        examples = _probes() if example is None else [example]
        errors: list[Exception] = []
        forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with forked, evaluating(self.backbone):
            for probe in examples:
                check_image(probe, "example")
                try:
                    return self._try(head, probe.to(device), multiple_of)
                except Exception as error:  # whatever it raises, the next probe may suit it
                    errors.append(error)
        # What went wrong after the network had run says more than that other sizes do not suit it.
        ran = [error for error in errors if not isinstance(error, _CallError)]
        why = str(ran[0]) if ran else f"{errors[0]}. {self._advice(errors[0].__cause__, example)}"
        raise ValueError(f"cannot wrap {type(self.backbone).__name__}: {why.rstrip('.')}.")

    def _advice(self, error: BaseException | None, example: Tensor | None) -> str:
        """Which argument to pass where the network itself raises."""
        channels = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
        if channels:
            wanted, got = int(channels[1]), int(channels[2])
            region = ", or region=True if the last one says where the image was changed"
            return (
                f"Pass preprocess= what makes its {wanted} channels of an RGB image"
                f"{region if wanted == got + 1 and not self.region else ''}"
            )
        if isinstance(error, TypeError):
            return "Pass call= how to call it, as call(backbone, input)"
        other = "" if example is None else "another "
        return f"Pass {other}example= an image batch of a size that it takes"

    def _try(
        self, wanted: str | MaskHead | OutputHead | None, example: Tensor, multiple_of: int | None
    ) -> _Probed:
        def run(image: Tensor) -> object:
            try:
                return self._run(image.clone())  # a copy, because some networks change their input
            except Exception as error:
                raise _CallError(image, error) from error

        def accepts(image: Tensor) -> bool:
            try:
                logits = head(lambda: run(image), tuple(image.shape[-2:]))
            except Exception:  # whatever the network raises at this size, the size is no good
                return False
            return logits.shape[1] == len(self.retoucher.ranges)

        if isinstance(wanted, OutputHead):
            head: MaskHead | OutputHead = wanted
            logits = head(lambda: run(example), tuple(example.shape[-2:]))
            self._check_channels(logits)
            return _Probed(head, find_sizes(example, accepts, multiple_of), set())
        if isinstance(wanted, MaskHead):
            found = Found(wanted, set(), "")
        else:
            found = find_head(self.backbone, len(self.retoucher.ranges), example, run, wanted)
        handle = found.head.attach(self.backbone)
        try:
            head = found.head if found.head is wanted else find_start(found.head, example, run)
            accepted = find_sizes(example, accepts, multiple_of)
        except Exception:
            handle.remove()
            raise
        return _Probed(head, accepted, found.unused, found.doubt)

    def _check_channels(self, logits: Tensor) -> None:
        wanted, got = len(self.retoucher.ranges), logits.shape[1]
        if got != wanted:
            raise ValueError(
                f"with OutputHead the network must put out {wanted} channels, one for each of "
                f"{list(self.retoucher.ranges)}, got {got}. Build it with {wanted} outputs, or "
                "leave out head= to read the masks from its features"
            )


class _CallError(Exception):
    """The network itself raised."""

    def __init__(self, image: Tensor, error: Exception) -> None:
        line = "".join(str(error).strip().splitlines()[:1])
        what = f"{type(error).__name__}: {line}".rstrip(":. ")
        super().__init__(f"on an image batch of shape {tuple(image.shape)} it raised {what}")


class _Probed(NamedTuple):
    head: MaskHead | OutputHead
    accepted: Accepted
    unused: set[nn.Parameter]
    doubt: str = ""


def _probes() -> list[Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    return [torch.rand(2, 3, *s, generator=generator, device="cpu") for s in PROBES]

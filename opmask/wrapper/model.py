r"""The wrapper: any image-to-image network becomes one that predicts operator masks.

Data flow: `image -> preprocess -> pad -> backbone -> head -> logits -> crop -> retoucher ->
Retouched(image, masks)`. An untrained wrapper returns its input, because logits 0 are identity
masks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree

from opmask.color import check_image, check_region
from opmask.retouch import Retoucher, lab_retoucher
from opmask.wrapper.calibration import Calibration
from opmask.wrapper.checks import check_backbone, check_multiple
from opmask.wrapper.heads import MaskHead, OutputHead, precision
from opmask.wrapper.sizes import SMALLEST, SizeRule
from opmask.wrapper.trial import try_out

__all__ = ["OperatorMaskWrapper", "Retouched"]


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
    tapped layer are frozen, since no gradient reaches them. In evaluation mode without gradients,
    what comes after that layer does not run, unless a hook of somebody else's would miss it.

    Args:
        backbone: The network. What it puts out does not matter: only its features are used.
        retoucher: What the masks do; :func:`lab_retoucher` if `None`.
        region: Whether the network gets a fourth input channel that says where the image was
            changed: 1 inside, 0 outside, soft between, -1 unknown.
        head: The name of the layer to read from, if the one that is found is not the right one; or
            an :class:`OutputHead`, for a network whose own output is the logits.
            (:func:`opmask.load` hands in the head of a file, and its :class:`SizeRule` as
            `multiple_of`: then nothing is tried out.)
        call: How to call the network, as `call(backbone, input)`, if not as `backbone(input)`.
        preprocess: Maps the RGB image in :math:`[0, 1]` to the network's input, such as
            `opmask.LAB_CENTERED.from_rgb` or `torchvision.transforms.Normalize(mean, std)`.
        example: An image batch that the network accepts, with shape :math:`(B, 3, H, W)`, RGB in
            :math:`[0, 1]`, if it has a size of its own that is not found, or wants a batch of 1.
            Best not square.
        multiple_of: The number that height and width must be multiples of; searched for if `None`.
        size: The size at which the network runs: the longer side, or height and width. The masks
            are enlarged. If `None`, the image's own size, or the only one that the network
            accepts.

    Warns:
        UserWarning: If masks are read from a coarse map or past much of the network, if the
            network turned out to accept a single size or one image at a time, or if it fails in
            training mode: one step of training is tried.

    Attributes:
        unused: The names of the parameters that get no gradient. Those whose results masks are not
            read from are frozen. The others took no part when the network was tried out, as an
            expert that was not called: they may yet, and stay as they are. So
            `DistributedDataParallel` wants ``find_unused_parameters=True`` if one of them has
            `requires_grad`; or freeze these, if you know that they are never used.
        calibration: How far to trust the regions that the model finds by itself, for
            :func:`opmask.inference.harmonize`; `None` until one is set.

    Raises:
        TypeError: If `backbone` is compiled, scripted or wrapped for several devices: do that to
            the wrapper instead; if it is a wrapper already; or if an argument is of another kind.
        ValueError: If there is no way to read masks from the network: the message says what was
            tried, and which argument to pass; or if an argument is out of its range, or the
            network has no weights, or weights that cannot learn.

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
        multiple_of: int | SizeRule | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        check_backbone(backbone)
        if isinstance(backbone, OperatorMaskWrapper):  # one within a network may serve it
            raise TypeError(
                "'backbone' must be the network itself, got an OperatorMaskWrapper. Pass its "
                ".backbone."
            )
        if retoucher is not None and not isinstance(retoucher, Retoucher):
            raise TypeError(f"'retoucher' must be a Retoucher, got {type(retoucher).__name__}.")
        if multiple_of is not None and not isinstance(multiple_of, SizeRule):
            check_multiple(multiple_of)
        if size is not None:
            check_size(size)
        with torch.inference_mode(False):  # whose tensors cannot learn
            self.retoucher = lab_retoucher() if retoucher is None else retoucher
            self.backbone = backbone
            self.region = region
            self.call, self.preprocess = call, preprocess
            self.calibration: Calibration | None = None
            names = [*self.retoucher.ranges]
            self.head, self.size_rule, frozen, idle, doubts = try_out(
                self._run, backbone, names, head, example, multiple_of, size, region=region
            )
        self.size = self._fixed_or(size)
        unused = frozen | idle
        self.unused = [name for name, p in backbone.named_parameters() if p in unused]
        for doubt in doubts:
            warnings.warn(doubt, stacklevel=2)
        # No gradient reaches them, and DistributedDataParallel would fail.
        for parameter in frozen:
            parameter.requires_grad_(False)

    @property
    def multiple_of(self) -> int:
        """The number that the backbone's input sizes are padded to a multiple of."""
        return self.size_rule.multiple_of

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
            size: Overrides the `size` of the model for this call. A network that accepts one size
                only runs at that.

        Returns:
            The masks by name, each with shape :math:`(B, 1, H, W)`, in operator units and at
            least float32.

        Raises:
            ValueError: If a shape or `size` is wrong, or a region is handed to a model that is
                blind to it.
            TypeError: If the image is not of a floating-point type, or the region is no tensor.
            RuntimeError: If the model is in training mode, but its network switches gradients off.
        """
        check_inputs(image, region, self.region)
        full = image.shape[-2], image.shape[-1]
        working = self._working_size(full, size)
        image = image.to(torch.promote_types(precision(self.backbone, image), torch.float32))
        logits = self._logits(resize(image, working), region, working)
        masks = self.retoucher.from_logits(logits)
        return {name: resize(mask, full) for name, mask in masks.items()}

    if TYPE_CHECKING:  # nn.Module's own returns Any

        def __call__(self, image: Tensor, region: Tensor | None = None) -> Retouched:
            """What :meth:`forward` returns."""

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
        padded = pad_to_multiple(image, self.size_rule)
        if region is not None:
            region = F.interpolate(region.to(image.dtype), size=size, mode="nearest-exact")
            region = pad_to_multiple(region, self.size_rule)
        learns = self.training and torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in self.backbone.parameters()
        )  # fmt: skip
        shape = padded.shape[-2], padded.shape[-1]
        logits = self.head(lambda: self._run(padded, region), shape, learns, self.backbone)
        return resize(logits, shape)[..., : size[0], : size[1]]

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
        wanted = self.size_rule.fixed or size or self.size or full
        return fit_longer_side(full, wanted) if isinstance(wanted, int) else wanted

    def _fixed_or(self, size: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
        fixed = self.size_rule.fixed
        if fixed and size not in (None, fixed, max(fixed)):
            raise ValueError(
                f"'size' must be {fixed}, the only one that {type(self.backbone).__name__} "
                f"accepts, got {size}. Leave it out."
            )
        return fixed or size


def fit_longer_side(size: tuple[int, int], longer: int) -> tuple[int, int]:
    r"""The size with the given longer side and the same aspect ratio; it only shrinks.

    Args:
        size: Height and width, in pixels.
        longer: The longer side wanted, in pixels.

    Returns:
        Height and width, in pixels, each at least 16.

    Example:
        >>> fit_longer_side((1080, 1920), 256)
        (144, 256)
    """
    scale = min(1.0, longer / max(size))
    height, width = (max(round(s * scale), min(s, SMALLEST)) for s in size)
    return height, width


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Resizes maps bilinearly, antialiased where they shrink.

    Args:
        maps: Images or maps, with shape :math:`(B, C, h, w)`.
        size: Height and width wanted, in pixels.

    Returns:
        The maps, with shape :math:`(B, C, H, W)`; those given if they have that size.

    Example:
        >>> import torch
        >>> resize(torch.rand(1, 6, 32, 48), (97, 131)).shape
        torch.Size([1, 6, 97, 131])
    """
    if maps.shape[-2:] == size:
        return maps
    shrinks = maps.shape[-2] > size[0] or maps.shape[-1] > size[1]
    return F.interpolate(maps, size=size, mode="bilinear", antialias=shrinks)


def check_inputs(image: Tensor, region: Tensor | None, takes_region: bool) -> None:
    """Raises unless a model that takes a region, or not, can work with these two."""
    check_image(image)
    if min(image.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"'image' must be at least {SMALLEST}x{SMALLEST} pixels, "
            f"got {tuple(image.shape[-2:])}."
        )
    if region is None:
        return
    if not takes_region:
        raise ValueError(
            "this model is blind: it was built without region=True, so 'region' must be None. "
            "Use edit(..., region=region) if you only want to confine the masks."
        )
    check_region(region, image)


def with_region(x: Tensor, region: Tensor | None) -> Tensor:
    """A network's input with the region as one more channel; -1, unknown, if there is none."""
    plane = torch.full_like(x[:, :1], -1.0) if region is None else region.to(x.dtype)
    return torch.cat([x, plane], 1)


def pad_to_multiple(image: Tensor, rule: SizeRule) -> Tensor:
    r"""Repeats the last row and column until the network accepts the size; a copy in any case.

    Args:
        image: An image, with shape :math:`(B, C, H, W)`.
        rule: The sizes that the network accepts.

    Returns:
        The padded image, with shape :math:`(B, C, H', W')`; the image itself lies at its top left.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 3, 97, 131), SizeRule(32, 32)).shape
        torch.Size([1, 3, 128, 160])
    """
    multiple = rule.multiple_of
    rows, columns = (max(-s % multiple, rule.least - s) for s in image.shape[-2:])
    if not (rows or columns):
        return image.clone()  # because some networks change their input in place
    return F.pad(image, (0, columns, 0, rows), mode="replicate")


def check_size(size: int | tuple[int, int]) -> None:
    """Raises unless `size` is a longer side, or a height and a width."""
    sides = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(isinstance(side, int) for side in sides)
    if not whole or len(sides) != 2 or min(sides) < SMALLEST:
        raise ValueError(
            "'size' must be the longer side or height and width, in whole pixels from "
            f"{SMALLEST}, got {size!r}."
        )

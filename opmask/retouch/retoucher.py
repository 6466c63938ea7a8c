r"""The retoucher: applies named operator masks, in as few colour conversions as possible.

Data flow: `logits -> from_logits -> masks -> forward(image, masks) -> image`. It has no
parameters, and needs no network: masks that were edited, saved or enlarged are applied by the same
call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from opmask.color import ColorSpace, check_image
from opmask.color.blocks import in_blocks, is_plain, no_autocast
from opmask.color.lab import channels_of
from opmask.operators import MaskRange, Operator
from opmask.operators.base import join_ranges, split_masks

__all__ = ["Retoucher"]

Finish = Callable[[Tensor], Tensor]


class Stage(nn.Module):
    r"""Consecutive operators of one colour space, between one conversion in and one out.

    Args:
        space: The colour space of all of them.
        operators: The operators, in order.
    """

    def __init__(self, space: ColorSpace, operators: list[Operator]) -> None:
        super().__init__()
        self.space = space
        self.operators = nn.ModuleList(operators)
        self.names = [name for op in operators for name in op.ranges]
        self.counts = [len(op.ranges) for op in operators]

    def forward(
        self, image: Tensor, masks: Mapping[str, Tensor], finish: Finish | None = None
    ) -> Tensor:
        r"""Applies the operators.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB.
            masks: The masks by name, each broadcastable to shape :math:`(B, 1, H, W)`.
            finish: What is done with the result, in the same pass.

        Returns:
            The new image, with the shape of `image`, RGB, unbounded but for what `finish` does.
        """
        shape = (image.shape[0], 1, *image.shape[-2:])
        planes = [masks[name].expand(shape) for name in self.names]
        if torch.compiler.is_compiling():
            return self._by_channel(image, planes, finish)

        def apply(image: Tensor, *planes: Tensor) -> Tensor:
            x = self.space.from_rgb(image)
            stack = _joined(planes) if is_plain(*planes) else torch.cat(planes, 1)
            for operator, part in split_masks(self.operators, stack):
                x = operator(x, part)
            x = self.space.to_rgb(x)
            return x if finish is None else finish(x)

        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        if all(op.pixelwise for op in self.operators) and not learns:
            return in_blocks(apply, image, *planes)
        return apply(image, *planes)

    def _by_channel(self, image: Tensor, planes: list[Tensor], finish: Finish | None) -> Tensor:
        """The same in a form of which compilers make one loop."""
        channels = channels_of(self.space.from_rgb, image.unbind(1))
        rest = [plane[:, 0] for plane in planes]
        for operator, count in zip(self.operators, self.counts, strict=True):
            channels, rest = operator.by_channel(channels, rest[:count]), rest[count:]  # type: ignore[operator]
        channels = channels_of(self.space.to_rgb, channels)
        return torch.stack(channels if finish is None else [finish(c) for c in channels], 1)

    def extra_repr(self) -> str:
        """The colour space, for printing."""
        return self.space.name


def _joined(planes: tuple[Tensor, ...]) -> Tensor:
    """Planes (B, 1, H, W) as one (B, M, H, W): a view if they lie side by side in memory."""
    (first, *others), steps = planes, [plane.storage_offset() for plane in planes]
    step = steps[1] - steps[0] if others else 0
    memory = first.untyped_storage().data_ptr()
    if (
        torch.is_grad_enabled()
        or step <= 0
        or steps != [*range(steps[0], steps[0] + step * len(planes), step)]
        or any(plane.untyped_storage().data_ptr() != memory for plane in others)
        or any((p.stride(), p.dtype) != (first.stride(), first.dtype) for p in others)
    ):
        return torch.cat(planes, 1)
    strides = first.stride()
    shape = (len(first), len(planes), *first.shape[2:])
    return first.as_strided(shape, (strides[0], step, *strides[2:]))


class Retoucher(nn.Module):
    r"""Applies operators to an image, each steered by its masks.

    Consecutive operators of the same colour space share one conversion; `print(retoucher)` shows
    the stages. The order is yours and has a meaning: the paper multiplies, then adds. Nothing is
    clipped between operators; the result is clamped to :math:`[0, 1]` once, at the end, with a
    straight-through gradient (a plain clamp kills the gradient of about a third of the saturated
    values).

    Args:
        *operators: The operators, in order.

    Raises:
        ValueError: If there is no operator, or a mask name occurs twice.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask, torch
        >>> retoucher = opmask.Retoucher(opmask.Mul(opmask.LAB), opmask.Add(opmask.LAB, "l"))
        >>> list(retoucher.ranges)
        ['l_mul', 'a_mul', 'b_mul', 'l_add']
        >>> image = torch.rand(1, 3, 16, 16)
        >>> masks = retoucher.identity(image)
        >>> bool(((retoucher(image, masks) - image).abs() < 1e-4).all())
        True
        >>> masks = retoucher.edit(masks, "l_add", offset=0.1)  # brighter by L* = 10
        >>> bool((retoucher(image, masks) >= image - 1e-4).all())
        True
    """

    def __init__(self, *operators: Operator) -> None:
        super().__init__()
        self.ranges: dict[str, MaskRange] = join_ranges(operators, owner="Retoucher")
        self.gates = tuple(name for op in operators for name in op.gates)
        # Grouped here and not in forward, where groupby would break torch.compile(fullgraph=True).
        groups = groupby(operators, key=lambda op: op.space)
        self.stages = nn.ModuleList(Stage(space, list(group)) for space, group in groups)

    @property
    def operators(self) -> list[Operator]:
        """The operators, in order."""
        return [op for stage in self.stages for op in stage.operators]  # type: ignore[union-attr]

    def from_logits(self, logits: Tensor) -> dict[str, Tensor]:
        r"""Turns the raw output of a mask head into masks.

        Args:
            logits: The logits, with shape :math:`(B, M, H, W)`, unbounded, one channel for each
                mask in order.

        Returns:
            The masks by name, each with shape :math:`(B, 1, H, W)`, in operator units. Logits 0
            are the identity.

        Raises:
            ValueError: If there is not one channel for each mask.
        """
        if logits.ndim != 4 or logits.shape[1] != len(self.ranges):
            raise ValueError(
                f"'logits' must have shape (B, {len(self.ranges)}, H, W), one channel for each of "
                f"{list(self.ranges)}, got {tuple(logits.shape)}."
            )
        maps = logits.split(1, 1)
        return {
            name: r.from_logits(z) for (name, r), z in zip(self.ranges.items(), maps, strict=True)
        }

    @property
    def pixelwise(self) -> bool:
        """Whether each pixel of a result depends on that pixel and its masks alone."""
        return all(operator.pixelwise for operator in self.operators)

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""What masks come to, with gates multiplied in.

        Args:
            masks: Every mask by name, each with shape :math:`(B, 1, H, W)`, in operator units.

        Returns:
            The masks but for the gates, likewise. Where a gate is shut they are at their identity.

        Example:
            >>> import opmask, torch
            >>> retoucher = Retoucher(opmask.Gated(opmask.Add(opmask.LAB, "l")))
            >>> masks = {"l_add": torch.full((1, 1, 2, 2), 0.4), "gate": torch.zeros(1, 1, 2, 2)}
            >>> retoucher.effective(masks)["l_add"].sum()
            tensor(0.)
        """
        return {n: m for op in self.operators for n, m in op.effective(masks).items()}

    def identity(self, image: Tensor) -> dict[str, Tensor]:
        r"""The masks that leave an image as it is.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.

        Returns:
            The masks by name, each constant, with shape :math:`(B, 1, H, W)`, in operator units.
        """
        check_image(image)
        shape = (image.shape[0], 1, *image.shape[-2:])
        return {name: image.new_full(shape, r.identity) for name, r in self.ranges.items()}

    if TYPE_CHECKING:  # nn.Module's own returns Any

        def __call__(self, image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            """What :meth:`forward` returns."""

    def forward(self, image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        r"""Applies the masks.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            masks: Every mask by name, each with shape :math:`(B, 1, H, W)` or broadcastable to it,
                in operator units, floating point of any precision, on the device of the image.
                Masks out of their range are applied as they are, because looking at each value
                would stop a GPU; `edit(masks)` clamps all but the gates. What is not a number
                makes pixels that are not a number.

        Returns:
            The retouched image, with the shape of `image`, RGB in :math:`[0, 1]`, in at least
            float32 (also under autocast: in bfloat16 the identity alone would be wrong by 28 of
            255 levels).

        Raises:
            KeyError: If the names are not exactly those in `ranges`.
            ValueError: If a shape does not fit, or a mask is on another device.
            TypeError: If the image or a mask is no tensor of a floating-point type, or the masks
                have no names.
        """
        return self._retouch(image, masks, saturate)

    def unclipped(self, image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        r"""Applies the masks without the clamp at the end, for colours of a wider gamut.

        Args:
            image: As for :meth:`forward`, also beyond :math:`[0, 1]`.
            masks: As for :meth:`forward`.

        Returns:
            The retouched image, with the shape of `image`, RGB, unbounded.

        Raises:
            KeyError: As for :meth:`forward`.
            ValueError: As for :meth:`forward`.
            TypeError: As for :meth:`forward`.
        """
        return self._retouch(image, masks)

    def apply_(
        self,
        stored: Tensor,
        masks: Mapping[str, Tensor],
        profile: bytes | None = None,
        *,
        compile: bool = False,
    ) -> Tensor:
        r"""Applies masks of any size to the pixels of a photo, in place and in little memory.

        A strip of rows at a time is computed, as the whole would be. Pixels all of whose masks
        are at their identity stay as they are, to the last bit. Without gradients.

        Args:
            stored: The pixels, with shape :math:`(H, W, 3)` or :math:`(H, W, 1)` for grey:
                ``uint8``, ``uint16``, or floating point in :math:`[0, 1]`. An array shares its
                memory with `torch.from_numpy(array)`.
            masks: Every mask by name, each with shape :math:`(1, 1, h, w)`, all of one size, in
                operator units. They are enlarged bilinearly, and computed on the device where they
                are.
            profile: The ICC profile of the colours; sRGB if `None`.
            compile: Whether the retoucher is compiled: worth it from some photos of 12 megapixels
                on. Without a compiler it is not, which is said once.

        Returns:
            `stored`, of the same shape, type and range. With an operator that is not pixelwise
            there is one strip, the whole photo.

        Raises:
            KeyError: If the names are not exactly those in `ranges`.
            ValueError: If a shape does not fit.
            TypeError: If pixels or masks are of another type.

        Example:
            >>> import opmask, torch
            >>> retoucher = opmask.Retoucher(opmask.Add(opmask.RGB, "r"))
            >>> stored = torch.full((40, 60, 3), 51, dtype=torch.uint8)
            >>> retoucher.apply_(stored, {"r_add": torch.full((1, 1, 4, 6), 0.2)})[0, 0]
            tensor([102,  51,  51], dtype=torch.uint8)
        """
        from opmask.retouch.pixels import retouch_in_place  # profiles need more than torch

        self._check_masks(masks)
        with torch.no_grad():
            return retouch_in_place(self, stored, masks, profile, compile=compile)

    def _retouch(
        self, image: Tensor, masks: Mapping[str, Tensor], finish: Finish | None = None
    ) -> Tensor:
        check_image(image)
        self._check_masks(masks, image)
        dtype = torch.promote_types(image.dtype, torch.float32)
        with no_autocast(image.device):
            x, masks = image.to(dtype), {name: m.to(dtype) for name, m in masks.items()}
            *stages, last = self.stages
            for stage in stages:
                x = stage(x, masks)
            return last(x, masks, finish)

    def edit(
        self,
        masks: Mapping[str, Tensor],
        name: str | None = None,
        *,
        strength: float = 1.0,
        offset: float = 0.0,
        region: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        r"""Changes one mask, or all of them, and returns new masks.

        .. math:: m' = (1 - r)\,m + r\,\operatorname{clamp}(i + s\,(m - i) + o, l, h)

        Args:
            masks: The masks by name, each with shape :math:`(B, 1, H, W)`, in operator units.
            name: The mask to change. If `None`, all of them but the gates of
                :class:`opmask.Gated`, which are factors on other masks: with both changed a
                strength would act twice.
            strength: The factor :math:`s` on the distance from the identity :math:`i`: 0 switches
                the operator off, 2 doubles it.
            offset: The constant :math:`o` to add, in operator units.
            region: The soft map :math:`r` that says where, with shape :math:`(B, 1, H, W)`, in
                :math:`[0, 1]`.

        Returns:
            All masks by name, with the shapes and units of `masks`, in a new dictionary; the
            given one and its tensors stay as they are.

        Raises:
            KeyError: If there is no mask of that name.
            TypeError: If `name` is no text.
            ValueError: If `strength` or `offset` is not finite, or `region` does not fit.
        """
        if not (name is None or isinstance(name, str)):
            raise TypeError(f"'name' must be one name of a mask, or None for all, got {name!r}.")
        names = [n for n in masks if n not in self.gates] if name is None else [name]
        for wanted in names:
            if wanted not in self.ranges or wanted not in masks:
                raise KeyError(
                    f"no mask named {wanted!r}; this retoucher has {list(self.ranges)}."
                )
        edited = dict(masks)
        for key in names:
            mask = masks[key]
            weight = torch.as_tensor(region, dtype=mask.dtype, device=mask.device)
            pairs = zip(reversed(weight.shape), reversed(mask.shape), strict=False)
            fits = all(a == b or 1 in (a, b) for a, b in pairs)
            if not fits or (weight.ndim > 2 and weight.shape[-3] != 1):
                raise ValueError(
                    f"'region' must have shape {tuple(mask.shape)} to fit mask {key!r}, "
                    f"got {tuple(weight.shape)}."
                )
            edited[key] = mask.lerp(self.ranges[key].scale(mask, strength, offset), weight)
        return edited

    def _check_masks(self, masks: Mapping[str, Tensor], image: Tensor | None = None) -> None:
        """Raises unless these are the masks of an image, or of none in particular."""
        if not isinstance(masks, Mapping):
            raise TypeError(
                f"'masks' must be a dict of masks by name, got {type(masks).__name__}."
            )
        if masks.keys() != self.ranges.keys():
            raise KeyError(
                f"'masks' must have exactly the keys {list(self.ranges)}, got {list(masks)}."
            )
        for name, mask in masks.items():
            if not (isinstance(mask, Tensor) and mask.is_floating_point()):
                kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise TypeError(f"mask {name!r} must be a floating-point tensor, got {kind}.")
        like, fitted = image, "the image"
        if image is None:  # then all must fit the first one that is no single number
            first = max(masks, key=lambda name: masks[name].numel() > 1)
            like, fitted = masks[first], f"mask {first!r}"
        assert like is not None
        want = (1 if image is None else image.shape[0], 1, *like.shape[-2:])
        for name, mask in masks.items():
            if mask.device != like.device:
                raise ValueError(
                    f"mask {name!r} must be on the device of {fitted}, {like.device}, got "
                    f"{mask.device}. Move it there by .to(image.device)."
                )
            fits = mask.ndim == 4 and all(
                m in (1, n) for m, n in zip(mask.shape, want, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"mask {name!r} must have shape {want} to fit {fitted}, "
                    f"got {tuple(mask.shape)}. Resize it by torch.nn.functional.interpolate."
                )
            if 0 in mask.shape:
                raise ValueError(f"mask {name!r} must not be empty, got {tuple(mask.shape)}.")


def saturate(image: Tensor) -> Tensor:
    """Clamps to [0, 1], with the gradient of no clamp at all (straight through)."""
    if not (torch.is_grad_enabled() and image.requires_grad):
        return image.clamp(0, 1)
    # The difference is exactly 0, also of values so large that sums would be rounded.
    return image.clamp(0, 1).detach() + (image - image.detach())

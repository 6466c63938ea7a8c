r"""The retoucher: applies named operator masks, in as few colour conversions as possible.

Data flow: `logits -> from_logits -> masks -> forward(image, masks) -> image`. It has no
parameters, and needs no network: masks that were edited, saved or enlarged are applied by the same
call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, groupby

import torch
from torch import Tensor, nn

from opmask.color import HLS, HLS_CLAMPED, LAB, ColorSpace, check_image
from opmask.color.blocks import in_blocks, is_plain
from opmask.color.lab import channels_of
from opmask.markdown import markdown_table
from opmask.operators import (
    Add,
    Contrast,
    Exposure,
    Highlights,
    MaskRange,
    Mul,
    Operator,
    Saturation,
    Shadows,
    Temperature,
    Tint,
)
from opmask.operators.base import join_ranges, split_masks

__all__ = [
    "Ambiguity",
    "Retoucher",
    "ambiguity",
    "hls_retoucher",
    "lab_retoucher",
    "paper_hls_retoucher",
    "photo_retoucher",
]

DIFFERENCE_STEP = 2**-10
"""How far from the identity, as a share of half the range, effects of masks are measured."""

NO_EFFECT = 1e-4
"""The effect of half a range, in units of RGB, that counts as none: 0.03 levels, or rounding."""


Finish = Callable[[Tensor], Tensor]


class Stage(nn.Module):
    """Consecutive operators of one colour space, between one conversion in and one out."""

    def __init__(self, space: ColorSpace, operators: list[Operator]) -> None:
        super().__init__()
        self.space = space
        self.operators = nn.ModuleList(operators)
        self.names = [name for op in operators for name in op.ranges]
        self.counts = [len(op.ranges) for op in operators]

    def forward(
        self, image: Tensor, masks: Mapping[str, Tensor], finish: Finish | None = None
    ) -> Tensor:
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
            >>> retoucher = Retoucher(opmask.Gated(Add(LAB, "l")))
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

    def forward(self, image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        r"""Applies the masks.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            masks: Every mask by name, each with shape :math:`(B, 1, H, W)` or broadcastable to it,
                in operator units.

        Returns:
            The retouched image, with the shape of `image`, RGB in :math:`[0, 1]`, in at least
            float32 (also under autocast: in bfloat16 the identity alone would be wrong by 28 of
            255 levels).

        Raises:
            KeyError: If the names are not exactly those in `ranges`.
            ValueError: If a shape does not fit.
            TypeError: If the image is not of a floating-point type.
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

    def _retouch(
        self, image: Tensor, masks: Mapping[str, Tensor], finish: Finish | None = None
    ) -> Tensor:
        check_image(image)
        self._check_masks(image, masks)
        dtype = torch.promote_types(image.dtype, torch.float32)
        with torch.autocast(image.device.type, enabled=False):
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
            A new dictionary; the given one and its tensors stay as they are.

        Raises:
            KeyError: If there is no mask of that name.
            ValueError: If `strength` or `offset` is not finite.
        """
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
            edited[key] = mask.lerp(self.ranges[key].scale(mask, strength, offset), weight)
        return edited

    def _check_masks(self, image: Tensor, masks: Mapping[str, Tensor]) -> None:
        if masks.keys() != self.ranges.keys():
            raise KeyError(
                f"'masks' must have exactly the keys {list(self.ranges)}, got {list(masks)}."
            )
        want = (image.shape[0], 1, *image.shape[-2:])
        for name, mask in masks.items():
            fits = mask.ndim == 4 and all(
                m in (1, n) for m, n in zip(mask.shape, want, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"mask {name!r} must have shape {want} to fit the image, "
                    f"got {tuple(mask.shape)}."
                )


def saturate(image: Tensor) -> Tensor:
    """Clamps to [0, 1], with the gradient of no clamp at all (straight through)."""
    if not (torch.is_grad_enabled() and image.requires_grad):
        return image.clamp(0, 1)
    # The difference is exactly 0, also of values so large that sums would be rounded.
    return image.clamp(0, 1).detach() + (image - image.detach())


def lab_retoucher() -> Retoucher:
    r"""The paper's six masks: each channel of LAB is multiplied, then added to.

    Example:
        >>> list(lab_retoucher().ranges)
        ['l_mul', 'a_mul', 'b_mul', 'l_add', 'a_add', 'b_add']
    """
    return Retoucher(Mul(LAB), Add(LAB))


def hls_retoucher() -> Retoucher:
    r"""Five masks for editing by hand, in HLS.

    Lightness and saturation as a factor and a shift, hue as a turn.

    Example:
        >>> list(hls_retoucher().ranges)
        ['l_mul', 's_mul', 'l_add', 's_add', 'h_add']
    """
    half_turn = MaskRange(0.0, low=-0.5, high=0.5)
    return Retoucher(Mul(HLS, "l", "s"), Add(HLS, "l", "s"), Add(HLS, "h", range=half_turn))


def paper_hls_retoucher() -> Retoucher:
    r"""The paper's six masks in HLS: each channel is multiplied, then added to, then clamped.

    .. math:: y_c = \operatorname{clamp}(x_c \, m_{c,\mathrm{mul}} + m_{c,\mathrm{add}}, 0, 1),
              \qquad c \in \{h, l, s\}

    The published code has no HLS; this follows the paper's supplement and the code for LAB of the
    same network: factors without an upper bound, shifts within :math:`(-1, 1)`, and hue clamped
    instead of wrapped (see :data:`opmask.color.HLS_CLAMPED`). Two things differ. The shift is
    :math:`\tanh z` there and :math:`\tanh(z / 2)` here (:class:`opmask.MaskRange`), the same
    values for logits twice as large; the factor is :math:`\operatorname{ReLU}(z)` there and
    :math:`\operatorname{ReLU}(1 + z)` here, so that logits 0 are the identity.

    The supplement's other set, shifts alone, is `Retoucher(Add(HLS_CLAMPED))`. For editing by hand
    and for new models see :func:`hls_retoucher`.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), supplement

    Example:
        >>> list(paper_hls_retoucher().ranges)
        ['h_mul', 'l_mul', 's_mul', 'h_add', 'l_add', 's_add']
    """
    return Retoucher(Mul(HLS_CLAMPED, range=MaskRange(1.0, low=0.0)), Add(HLS_CLAMPED))


def photo_retoucher() -> Retoucher:
    r"""Seven masks of a photo editor: light, its colour, contrast, saturation, dark and bright.

    White balance and exposure come first, in linear light, as in a camera; contrast and saturation
    of the displayed values follow, then the tonal ranges of lightness: three conversions in all.

    No mask has a twin, as a factor has in a shift of the same channel, and the tonal ranges are
    narrow, so that they leave the middle to exposure and contrast: of the effect of a mask the one
    closest to it can imitate less than in :func:`lab_retoucher`, on most photos; see
    :func:`ambiguity`.

    Example:
        >>> list(photo_retoucher().ranges)
        ['temperature', 'tint', 'exposure', 'contrast', 'saturation', 'shadows', 'highlights']
        >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> ambiguity(photo_retoucher(), image).score < ambiguity(lab_retoucher(), image).score
        True
    """
    light = Temperature(), Tint(), Exposure()
    ends = Shadows(degree=12), Highlights(degree=12)
    return Retoucher(*light, Contrast(), Saturation(), *ends)


@dataclass(frozen=True, eq=False)
class Ambiguity:
    r"""Which masks of a retoucher can imitate each other on an image; see :func:`ambiguity`.

    Its text is a table: the effect of each mask, what is closest to it, and how much of it that
    one, and all others together, can imitate.

    Args:
        names: The names of the :math:`M` masks.
        effect: How far half of its range moves the colours of the image, for each mask as a
            constant, as a root mean square over pixels, with shape :math:`(M,)`, in units of RGB.
        cosine: The cosine similarity of their effects, with shape :math:`(M, M)`, in
            :math:`[-1, 1]`: 1 or -1 is a twin, and 0 stands for masks without effect.
        explained: The share of the effect of each mask that all others together can imitate, with
            shape :math:`(M,)`, in :math:`[0, 1]`.
        singular_values: Those of the effects of all masks, the largest first, with shape
            :math:`(M,)`, in units of RGB.
        pixel_rank: How many masks can be told apart where each pixel has its own, on average over
            pixels; at most 3, since a colour has three numbers.
        tolerance: The share of the largest singular value below which one does not count.
    """

    names: tuple[str, ...]
    effect: Tensor
    cosine: Tensor
    explained: Tensor
    singular_values: Tensor
    pixel_rank: float
    tolerance: float

    @property
    def rank(self) -> int:
        """How many masks can be told apart where each is constant over the image."""
        return int((self.singular_values > self.tolerance * self.singular_values[0]).sum())

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The masks that change nothing near the identity, such as the gate of a `Gated`."""
        return tuple(n for n, e in zip(self.names, self.effect.tolist(), strict=True) if e == 0)

    @property
    def pairs(self) -> list[tuple[str, str, float]]:
        r"""All pairs of masks, and the share of the effect of one that the other can imitate.

        The share is :math:`\cos^2`, the same either way; the worst pair comes first.
        """
        shares = self.cosine.square().tolist()
        pairs = combinations(range(len(self.names)), 2)
        found = [(self.names[j], self.names[k], shares[j][k]) for j, k in pairs]
        return sorted(found, key=lambda pair: -pair[2])

    @property
    def score(self) -> float:
        """The share of its effect that another mask can imitate, on average; 0 is decoupled."""
        return self._closest()[0].mean().item()

    def imitable(self, share: float = 0.5) -> list[str]:
        """Of each pair that shares more than this of its effect, the mask with the weaker one.

        A penalty on these masks, such as :func:`opmask.losses.mask_sparsity`, decides what the
        image leaves open.
        """
        strength = dict(zip(self.names, self.effect.tolist(), strict=True))
        pairs = [pair[:2] for pair in self.pairs if pair[2] > share]
        weaker = {min(pair, key=lambda name: strength[name]) for pair in pairs}
        return [name for name in self.names if name in weaker]

    def _closest(self) -> tuple[Tensor, Tensor]:
        """The share that the closest other mask can imitate, and which one it is, each (M,)."""
        shares = self.cosine.square()
        return tuple(shares.fill_diagonal_(0).max(1))  # type: ignore[return-value]

    def __str__(self) -> str:
        shares, closest = self._closest()
        rows = [
            (name, f"{255 * e:.1f}", self.names[k] if s else "", f"{s:.0%}", f"{x:.0%}")
            for name, e, k, s, x in zip(
                self.names,
                self.effect.tolist(),
                closest.tolist(),
                shares.tolist(),
                self.explained.tolist(),
                strict=True,
            )
        ]
        headings = ("mask", "effect, levels", "closest", "imitates it by", "all others by")
        table = markdown_table(headings, rows, rules=["---", "---:", "---", "---:", "---:"])
        return (
            f"{self.rank} of {len(self.names)} masks can be told apart as constants, "
            f"{self.pixel_rank:.1f} at a pixel.\n{table}"
        )


@torch.no_grad()
def ambiguity(retoucher: Retoucher, image: Tensor, *, tolerance: float = 0.01) -> Ambiguity:
    r"""Which masks of a retoucher can imitate each other on an image.

    .. math:: e_k = \frac{f(x, i + h s_k) - f(x, i - h s_k)}{2 h}, \qquad
              \cos_{jk} = \frac{\langle e_j, e_k \rangle}{\lVert e_j \rVert \, \lVert e_k \rVert}

    with :math:`f` the retoucher without its clamp, :math:`i` the identity, and :math:`s_k` half
    the range of mask :math:`k`, or 1 where it has no end. The effect :math:`e_k` of a mask is the
    change of all colours of the image as this mask alone leaves the identity everywhere, per half
    range. It is a difference in both directions, with :math:`h = 2^{-10}`, in float64, so that it
    can be had of any operator: of one that looks at neighbours too, and at kinks, where it is
    the mean of both slopes. Where operators are pixelwise it is also the column of the Jacobian of
    each pixel.

    The order of operators does not matter here: near the identity each gets the image itself.

    Args:
        retoucher: The retoucher.
        image: The images to look at, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            Masks that are twins on one image, say one without colours, may not be on another.
        tolerance: The share of the largest singular value below which one does not count for
            ranks.

    Returns:
        The report; print it for a table.

    Raises:
        ValueError: If the shape does not fit, or `tolerance` is not in :math:`[0, 1)`.
        TypeError: If the image is not of a floating-point type.

    Example:
        >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> report = ambiguity(lab_retoucher(), image)
        >>> report.rank, report.pixel_rank
        (6, 3.0)
        >>> first, second, share = report.pairs[0]
        >>> first, second, round(share, 2)
        ('l_mul', 'l_add', 0.9...)
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"'tolerance' must be in [0, 1), got {tolerance}.")
    check_image(image)
    image, masks = image.double(), retoucher.identity(image.double())
    effects = torch.stack([_effect(retoucher, image, masks, name) for name in masks])
    columns = effects.flatten(1)
    pixels = columns.shape[1] // 3
    effects[columns.norm(dim=1) < NO_EFFECT * pixels**0.5] = 0
    gram = columns @ columns.T / pixels
    size = gram.diagonal().sqrt()
    cosine = gram / (size[:, None] * size).clamp(min=torch.finfo(gram.dtype).tiny)
    singular = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()
    # Twins would have no inverse; so near to one nothing is left to see of what this adds.
    inverse = torch.linalg.inv(cosine + 1e-9 * torch.eye(len(gram)).to(gram))
    explained = torch.where(size > 0, 1 - 1 / inverse.diagonal(), 0).clamp(0, 1)
    at_pixel = torch.linalg.eigvalsh(torch.einsum("kbchw,kbdhw->bhwcd", effects, effects))
    counted = at_pixel.clamp(min=0).sqrt() > tolerance * singular[0]
    rank = counted.sum(-1).double().mean().item()
    return Ambiguity(tuple(masks), size, cosine, explained, singular, rank, tolerance)


def _effect(retoucher: Retoucher, image: Tensor, masks: dict[str, Tensor], name: str) -> Tensor:
    """The change of an image as a mask leaves the identity, per half range, (B, 3, H, W)."""
    half = (retoucher.ranges[name].high - retoucher.ranges[name].low) / 2
    step = DIFFERENCE_STEP * (half if math.isfinite(half) else 1.0)
    more, less = (
        retoucher.unclipped(image, {**masks, name: masks[name] + way}) for way in (step, -step)
    )
    return (more - less) / (2 * DIFFERENCE_STEP)

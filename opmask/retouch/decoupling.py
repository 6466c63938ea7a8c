r"""Which masks of a retoucher can imitate each other, and so cannot be told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from opmask.color import check_image
from opmask.markdown import markdown_table
from opmask.retouch.retoucher import Retoucher

__all__ = ["Ambiguity", "ambiguity"]

DIFFERENCE_STEP = 2**-10
"""How far from the identity, as a share of half the range, effects of masks are measured."""

NO_EFFECT = 1e-4
"""The effect of half a range, in units of RGB, that counts as none: 0.03 levels, or rounding."""


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
        ValueError: If the shape does not fit, the image is not finite, or `tolerance` is not in
            :math:`[0, 1)`.
        TypeError: If the image is not of a floating-point type, or `retoucher` is no
            :class:`Retoucher`.

    Example:
        >>> import opmask
        >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> report = ambiguity(opmask.lab_retoucher(), image)
        >>> report.rank, report.pixel_rank
        (6, 3.0)
        >>> first, second, share = report.pairs[0]
        >>> first, second, round(share, 2)
        ('l_mul', 'l_add', 0.9...)
    """
    if not isinstance(retoucher, Retoucher):
        raise TypeError(
            f"'retoucher' must be an opmask.Retoucher, got {type(retoucher).__name__}. "
            "Put operators into one."
        )
    if not 0 <= tolerance < 1:
        raise ValueError(f"'tolerance' must be in [0, 1), got {tolerance}.")
    check_image(image)
    if not image.isfinite().all():
        raise ValueError("'image' must be finite, got infinity or what is no number.")
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

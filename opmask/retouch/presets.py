r"""Retouchers that are ready to use: the paper's, and those for editing by hand."""

from __future__ import annotations

from opmask.color import HLS, HLS_CLAMPED, LAB, LAB_UNIT_CLAMPED
from opmask.operators import (
    Add,
    Contrast,
    Exposure,
    Highlights,
    MaskRange,
    Mul,
    Saturation,
    Shadows,
    Temperature,
    Tint,
)
from opmask.retouch.retoucher import Retoucher

__all__ = [
    "hls_retoucher",
    "lab_retoucher",
    "paper_hls_retoucher",
    "paper_lab_retoucher",
    "photo_retoucher",
]


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


def paper_lab_retoucher() -> Retoucher:
    r"""The six masks of the paper's Harmony Transformer, in LAB, clamped.

    .. math:: y_c = \operatorname{clamp}(x_c \, m_{c,\mathrm{mul}} + m_{c,\mathrm{add}}, 0, 1),
              \qquad c \in \{L, a, b\}

    in :data:`opmask.LAB_UNIT`: factors without an upper bound, shifts within :math:`(-1, 1)`. As
    in :func:`paper_hls_retoucher`, logits are counted from the identity here. A factor pivots at
    black and at :math:`a^* = b^* = -128`, so that shifts have to undo its tint; for editing by
    hand and for new models see :func:`lab_retoucher`. (The paper's U-Net has another set, which
    :func:`opmask.checkpoints.load_reference_checkpoint` builds.)

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> list(paper_lab_retoucher().ranges)
        ['l_mul', 'a_mul', 'b_mul', 'l_add', 'a_add', 'b_add']
    """
    return Retoucher(Mul(LAB_UNIT_CLAMPED, range=MaskRange(1.0, low=0.0)), Add(LAB_UNIT_CLAMPED))


def photo_retoucher() -> Retoucher:
    r"""Seven masks of a photo editor: light, its colour, contrast, saturation, dark and bright.

    White balance and exposure come first, in linear light, as in a camera; contrast and saturation
    of the displayed values follow, then the tonal ranges of lightness: three conversions in all.

    No mask has a twin, as a factor has in a shift of the same channel, and the tonal ranges are
    narrow, so that they leave the middle to exposure and contrast: of the effect of a mask the one
    closest to it can imitate less than in :func:`lab_retoucher`, on most photos; see
    :func:`opmask.retouch.ambiguity`.

    Example:
        >>> list(photo_retoucher().ranges)
        ['temperature', 'tint', 'exposure', 'contrast', 'saturation', 'shadows', 'highlights']
        >>> import torch
        >>> from opmask.retouch import ambiguity
        >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> ambiguity(photo_retoucher(), image).score < ambiguity(lab_retoucher(), image).score
        True
    """
    light = Temperature(), Tint(), Exposure()
    ends = Shadows(degree=12), Highlights(degree=12)
    return Retoucher(*light, Contrast(), Saturation(), *ends)

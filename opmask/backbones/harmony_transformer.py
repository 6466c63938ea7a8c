r"""The two networks that are called Harmony Transformer: one of convolutions, one of patches.

Data flow: `image (B, 3, H, W), region (B, 1, H, W) -> HarmonyTransformer -> image (B, 3, H, W)`.
Every token looks at all others, so that time grows with the square of the area: both are meant for
256x256 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from opmask.backbones._region import join
from opmask.backbones.transformer import (
    EncoderLayer,
    PatchEmbedding,
    as_map,
    as_tokens,
    check_multiple,
    check_width,
    conv_decoder,
    conv_encoder,
    initialize,
    sine_positions,
)

__all__ = ["HarmonyTransformer", "HarmonyTransformerPlus"]


class TokenNetwork(nn.Module):
    """What both share: all but the way from pixels to tokens of 4x4 pixels, and back.

    Args:
        in_channels: The number of channels of image and region together.
        out_channels: The number of output channels.
        encoder: Maps (B, in_channels, H, W) to (B, width, H / 4, W / 4).
        decoder: The way back.
        width: The number of features of a token.
        layers: The number of layers between the two.
        heads: The number of attention heads of each.
        ffn: The number of hidden features of each; twice the width if `None`.
        tanh: Whether what comes out of the decoder passes a hyperbolic tangent.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        encoder: nn.Module,
        decoder: nn.Module,
        width: int,
        layers: int,
        heads: int,
        ffn: int | None,
        tanh: bool,
    ) -> None:
        super().__init__()
        self.channels, self.multiple_of = in_channels, 4
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "layers": layers,
            "heads": heads,
            "ffn": ffn,
            "tanh": tanh,
        }
        ffn = 2 * width if ffn is None else ffn
        self.encoder = encoder
        self.layers = nn.ModuleList(EncoderLayer(width, heads, ffn) for _ in range(layers))
        self.decoder = decoder
        self.activation = nn.Tanh() if tanh else nn.Identity()
        self.apply(initialize)

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.
                If `None`, it is the last channel of `image`, as a wrapper with `region=True`
                hands it on.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`. It
            is trained to paint them in :math:`[0, 1]`; the bounds are those of the tangent,
            :math:`[-1, 1]`, or none.
        """
        x = join(image, region, self.channels)
        check_multiple(x, self.multiple_of)
        features = self.encoder(x)
        height, width = features.shape[-2:]
        tokens = as_tokens(features)
        positions = sine_positions(height, width, tokens.shape[2], tokens)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return self.activation(self.decoder(as_map(tokens, height, width)))


class HarmonyTransformer(TokenNetwork):
    r"""Harmony Transformer, of which the first release makes tokens by convolutions.

    .. math:: y = \tanh D(T(E([x, r])))

    with the composite :math:`x`, the region :math:`r`, convolutions :math:`E` and :math:`D` and a
    transformer :math:`T`. It paints the whole image; its published figures are those of that image
    pasted into the composite.

    Args:
        in_channels: The number of channels of image and region together, 4 as published.
        out_channels: The number of output channels.
        width: The number of features of a token, a multiple of 4.
        layers: The number of layers of the transformer.
        heads: The number of attention heads, of which `width` is a multiple.
        ffn: The number of hidden features of a layer; twice the width if `None`.
        tanh: Whether the output passes a hyperbolic tangent, as published. Without one it can be
            the logits of masks, see :class:`opmask.OutputHead`.
        stem: The number of channels of the first convolution; a quarter of the width if `None`, as
            published. With a number, a fourth convolution makes the width of what the three give.

    Called as `network(image, region)`, with images of shape :math:`(B, 3, H, W)`, RGB in
    :math:`[0, 1]`, and regions of shape :math:`(B, 1, H, W)`, or with both in one tensor, it
    returns images of shape :math:`(B, C, H, W)`. Height and width must be multiples of 4 from 8.

    Raises:
        ValueError: If `width` is no multiple of 4 and of `heads`, or there are no heads.

    References:
        | Image Harmonization With Transformer (Guo et al., 2021)
          https://openaccess.thecvf.com/content/ICCV2021/html/Guo_Image_Harmonization_With_Transformer_ICCV_2021_paper.html

    Example:
        >>> import torch
        >>> net = HarmonyTransformer(width=16, layers=2)
        >>> image, region = torch.rand(2, 3, 32, 48), torch.ones(2, 1, 32, 48)
        >>> net(image, region).shape
        torch.Size([2, 3, 32, 48])
        >>> sum(p.numel() for p in HarmonyTransformer().parameters())
        6446275
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        *,
        width: int = 256,
        layers: int = 9,
        heads: int = 2,
        ffn: int | None = None,
        tanh: bool = True,
        stem: int | None = None,
    ) -> None:
        check_width(width, heads)
        encoder = conv_encoder(in_channels, width, stem)
        decoder = conv_decoder(width, out_channels)
        super().__init__(
            in_channels, out_channels, encoder, decoder, width, layers, heads, ffn, tanh
        )
        self.arguments["stem"] = stem


class HarmonyTransformerPlus(TokenNetwork):
    r"""Harmony Transformer, of which the second release, HT+, makes each patch of pixels a token.

    .. math:: y = \tanh D(T(E([x, r])))

    with the composite :math:`x`, the region :math:`r`, a linear map :math:`E` of patches of 4x4
    pixels, one back to them :math:`D` and a transformer :math:`T`. The paper predicts masks with
    it; see :func:`opmask.checkpoints.load_sgmmh_harmony_transformer`.

    Args:
        in_channels: The number of channels of image and region together, 4 as published.
        out_channels: The number of output channels.
        width: The number of features of a token, a multiple of 4.
        layers: The number of layers of the transformer.
        heads: The number of attention heads, of which `width` is a multiple.
        ffn: The number of hidden features of a layer; twice the width if `None`.
        tanh: Whether the output passes a hyperbolic tangent, as published. Without one it can be
            the logits of masks, see :class:`opmask.OutputHead`.

    Called as `network(image, region)`, with images of shape :math:`(B, 3, H, W)`, RGB in
    :math:`[0, 1]`, and regions of shape :math:`(B, 1, H, W)`, or with both in one tensor, it
    returns images of shape :math:`(B, C, H, W)`. Height and width must be multiples of 4.

    Raises:
        ValueError: If `width` is no multiple of 4 and of `heads`, or there are no heads.

    References:
        | Image Harmonization With Transformer (Guo et al., 2021)
          https://openaccess.thecvf.com/content/ICCV2021/html/Guo_Image_Harmonization_With_Transformer_ICCV_2021_paper.html
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import torch
        >>> net = HarmonyTransformerPlus(width=16, layers=2)
        >>> image, region = torch.rand(2, 3, 32, 48), torch.ones(2, 1, 32, 48)
        >>> net(image, region).shape
        torch.Size([2, 3, 32, 48])
        >>> sum(p.numel() for p in HarmonyTransformerPlus().parameters())
        4772867
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        *,
        width: int = 256,
        layers: int = 9,
        heads: int = 2,
        ffn: int | None = None,
        tanh: bool = True,
    ) -> None:
        check_width(width, heads)
        encoder = PatchEmbedding(in_channels, width, side=4)
        decoder = nn.ConvTranspose2d(width, out_channels, 4, 4)
        super().__init__(
            in_channels, out_channels, encoder, decoder, width, layers, heads, ffn, tanh
        )

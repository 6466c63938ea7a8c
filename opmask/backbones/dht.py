r"""D-HT, the disentangled Harmony Transformer: an image as reflectance times illumination.

Data flow: `image (B, 3, H, W), region (B, 1, H, W) -> DHT -> image (B, 3, H, W)`. A few learned
queries gather the light of the surroundings; each place of the image is then lit by it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones._region import join
from opmask.backbones.transformer import (
    DecoderLayer,
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

__all__ = ["DHT"]

SIDE = 8
"""The side of a patch that light is gathered from, in pixels."""
VERSIONS = ("v1", "v2")


class DHT(nn.Module):
    r"""The disentangled Harmony Transformer.

    .. math:: y = R \odot I, \qquad R, I \in [0, 1]

    with the reflectance :math:`R`, which sees composite and region, and the illumination
    :math:`I`, made of the same features and of the light of all patches without foreground. It
    paints the whole image; its published figures are those of that image pasted into the
    composite.

    Args:
        in_channels: The number of channels of image and region together, 4 as published.
        out_channels: The number of output channels.
        width: The number of features of a token, a multiple of 4.
        layers: The number of layers of each transformer.
        heads: The number of attention heads, of which `width` is a multiple.
        ffn: The number of hidden features of a layer; twice the width if `None`.
        lights: The number of queries that gather light.
        version: `"v1"`, whose patches look at one another before light is gathered, or `"v2"`
            (DHT+), without that.
        stem: The number of channels of the first convolution; a quarter of the width if `None`, as
            published. With a number, a fourth convolution makes the width of what the three give.

    Input height and width must be multiples of 8. Where every patch holds foreground, the
    published networks give no numbers at all; here no patch is then left out.

    Raises:
        ValueError: If `width` is no multiple of 4 and of `heads`, there are no heads, or there is
            no such version.

    References:
        | Image Harmonization With Transformer (Guo et al., 2021)
          https://openaccess.thecvf.com/content/ICCV2021/html/Guo_Image_Harmonization_With_Transformer_ICCV_2021_paper.html
        | Transformer for Image Harmonization and Beyond (Guo et al., 2022)

    Example:
        >>> import torch
        >>> net = DHT(width=16, layers=2)
        >>> image, region = torch.rand(2, 3, 32, 48), torch.zeros(2, 1, 32, 48)
        >>> reflectance, illumination = net.factors(image, region)
        >>> torch.equal(net(image, region), reflectance * illumination)
        True
        >>> with torch.device("meta"):
        ...     [sum(p.numel() for p in DHT(version=v).parameters()) for v in ("v1", "v2")]
        [26515654, 21771718]
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
        lights: int = 27,
        version: str = "v1",
        stem: int | None = None,
    ) -> None:
        check_width(width, heads)
        if version not in VERSIONS:
            raise ValueError(f"'version' must be one of {', '.join(VERSIONS)}, got {version!r}.")
        super().__init__()
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "layers": layers,
            "heads": heads,
            "ffn": ffn,
            "lights": lights,
            "version": version,
            "stem": stem,
        }
        self.channels, self.multiple_of = in_channels, SIDE
        ffn = 2 * width if ffn is None else ffn

        def stack(kind: type[EncoderLayer | DecoderLayer], count: int = layers) -> nn.ModuleList:
            return nn.ModuleList(kind(width, heads, ffn) for _ in range(count))

        self.encoder = conv_encoder(in_channels, width, stem)
        self.layers = stack(EncoderLayer)
        self.patches = PatchEmbedding(in_channels - 1, width, SIDE)
        self.patch_layers = stack(EncoderLayer, layers if version == "v1" else 0)
        self.lights = nn.Embedding(lights, width)
        self.gathering, self.gathering_norm = stack(DecoderLayer), nn.LayerNorm(width)
        self.lighting, self.lighting_norm = stack(DecoderLayer), nn.LayerNorm(width)
        self.reflectance = conv_decoder(width, out_channels)
        self.illumination = conv_decoder(width, out_channels)
        self.apply(initialize)

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`,
                or -1 where unknown, which counts as surroundings. If `None`, it is the last
                channel of `image`, as a wrapper with `region=True` hands it on.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`, in
            :math:`[0, 1]`.
        """
        reflectance, illumination = self.factors(image, region)
        return reflectance * illumination

    def factors(self, image: Tensor, region: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""The two images whose product :meth:`forward` returns.

        Args:
            image: As for :meth:`forward`.
            region: As for :meth:`forward`.

        Returns:
            Reflectance and illumination, each with shape :math:`(B, C, H, W)`, in :math:`[0, 1]`.
        """
        x = join(image, region, self.channels)
        check_multiple(x, self.multiple_of)
        features = self.encoder(x)
        height, width = features.shape[-2:]
        tokens = as_tokens(features)
        positions = sine_positions(height, width, tokens.shape[2], tokens)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        light, lit = self._light(x), tokens
        for layer in self.lighting:
            lit = layer(lit, positions, light, self.lights.weight)
        lit = self.lighting_norm(lit)
        reflectance = self.reflectance(as_map(tokens, height, width)).tanh()
        illumination = self.illumination(as_map(lit, height, width)).tanh()
        return reflectance / 2 + 0.5, illumination / 2 + 0.5

    def _light(self, x: Tensor) -> Tensor:
        """The light (B, lights, width) of the surroundings of a composite with its region."""
        region = x[:, -1:].clamp(min=0)
        features = self.patches(x[:, :-1] * (1 - region))
        height, width = features.shape[-2:]
        tokens = as_tokens(features)
        positions = sine_positions(height, width, tokens.shape[2], tokens)
        ignored = F.max_pool2d(region, SIDE).flatten(1) > 0
        ignored = ignored & ~ignored.all(1, keepdim=True)
        for layer in self.patch_layers:
            tokens = layer(tokens, positions, ignored)
        queries = self.lights.weight
        light = torch.zeros_like(queries).expand(x.shape[0], -1, -1)
        for layer in self.gathering:
            light = layer(light, queries, tokens, positions, ignored)
        return self.gathering_norm(light)

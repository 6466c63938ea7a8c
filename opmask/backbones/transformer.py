r"""What the transformers for harmonization share: layers, positions, and ways to tokens and back.

Data flow: `image -> squares or convolutions -> as_tokens -> tokens (B, N, D) -> layers -> as_map
-> convolutions -> image`. The layers normalise after each sum, and add positions to queries and
keys, never to values, anew in each layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DecoderLayer",
    "EncoderLayer",
    "PatchEmbedding",
    "as_map",
    "as_tokens",
    "check_multiple",
    "check_width",
    "conv_decoder",
    "conv_encoder",
    "initialize",
    "sine_positions",
]


class EncoderLayer(nn.Module):
    """A layer in which every token looks at all others.

    Args:
        width: The number of features of a token.
        heads: The number of attention heads.
        ffn: The number of hidden features between its two linear layers.
    """

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor, ignored: Tensor | None = None) -> Tensor:
        """Maps tokens (B, N, D); nobody looks at those that are `ignored` (B, N)."""
        placed = x + positions
        x = self.norm1(x + _attend(self.self_attn, placed, placed, x, ignored))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class DecoderLayer(nn.Module):
    """A layer in which every token looks at all others, and then at those of a memory.

    Args:
        width: The number of features of a token.
        heads: The number of attention heads.
        ffn: The number of hidden features between its two linear layers.
    """

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        memory: Tensor,
        memory_positions: Tensor,
        ignored: Tensor | None = None,
    ) -> Tensor:
        """Maps tokens (B, N, D) that look at a memory (B, M, D), except where `ignored` (B, M)."""
        placed = x + positions
        x = self.norm1(x + _attend(self.self_attn, placed, placed, x))
        keys = memory + memory_positions
        x = self.norm2(x + _attend(self.multihead_attn, x + positions, keys, memory, ignored))
        return self.norm3(x + self.linear2(F.gelu(self.linear1(x))))


def _attend(
    attention: nn.MultiheadAttention,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    ignored: Tensor | None = None,
) -> Tensor:
    # Without the weights it runs torch's fast kernels.
    return attention(queries, keys, values, key_padding_mask=ignored, need_weights=False)[0]


def sine_positions(height: int, width: int, features: int, like: Tensor) -> Tensor:
    r"""Where each token of a grid stands, as sines and cosines of its row, then of its column.

    .. math:: \left(\sin \omega_0 c, \cos \omega_0 c, \sin \omega_1 c, \dots\right), \qquad
        \omega_k = 10000^{-2k / e}

    of each coordinate :math:`c = 1, 2, \dots`, not normalised, with :math:`e` features each.

    Args:
        height: The number of rows of tokens.
        width: The number of columns of tokens.
        features: The number of features of a token, :math:`2 e`, a multiple of 4.
        like: A tensor on the device and of the type wanted.

    Returns:
        The positions, with shape :math:`(HW, 2e)`, row by row, in :math:`[-1, 1]`.

    Example:
        >>> sine_positions(1, 2, 4, torch.zeros(1)).round(decimals=2)
        tensor([[ 0.8400,  0.5400,  0.8400,  0.5400],
                [ 0.8400,  0.5400,  0.9100, -0.4200]])
    """
    each = features // 2
    steps = 10000 ** (torch.arange(0, each, 2, device=like.device, dtype=torch.float32) / each)

    def along(count: int) -> Tensor:
        coordinates = torch.arange(1, count + 1, device=like.device, dtype=torch.float32)
        angles = coordinates[:, None] / steps
        return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)

    rows = along(height)[:, None].expand(height, width, each)
    columns = along(width).expand(height, width, each)
    return torch.cat([rows, columns], 2).flatten(0, 1).to(like.dtype)


class PatchEmbedding(nn.Module):
    """Cuts an image into squares, and makes each a token.

    The numbers of a square are taken pixel by pixel, row by row, the channels of each together.

    Args:
        channels: The number of channels of the image.
        width: The number of features of a token.
        side: The side of a square, in pixels.
    """

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.linear = nn.Linear(side * side * channels, width)
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """Maps (B, channels, H, W) to (B, width, H / side, W / side)."""
        squares = image.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))
        tokens = self.linear(squares.permute(0, 2, 4, 3, 5, 1).flatten(3))
        return tokens.movedim(3, 1)


def as_tokens(maps: Tensor) -> Tensor:
    """Features (B, C, H, W) as tokens (B, HW, C), row by row."""
    return maps.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, HW, C), row by row, as features (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


class _ImageNorm(nn.Module):
    """Normalises each image over all its features.

    Unlike in `nn.LayerNorm` the deviation is unbiased, and eps is added to it, not to its square.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma, self.beta = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = x.mean((1, 2, 3), True), x.std((1, 2, 3), keepdim=True)
        normal = (x - mean) / (deviation + self.eps)
        return normal * self.gamma.view(-1, 1, 1) + self.beta.view(-1, 1, 1)


def _reflected(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode="reflect")


def conv_encoder(inputs: int, width: int, stem: int | None = None) -> nn.Sequential:
    """Maps (B, inputs, H, W) to (B, width, H / 4, W / 4).

    The first convolution gives a quarter of the width; or as many channels as `stem` says, and a
    fourth convolution gives the width.
    """
    first = width // 4 if stem is None else stem
    shapes = [(first, 7, 1, 3), (2 * first, 4, 2, 1), (4 * first, 4, 2, 1)]
    shapes += [] if stem is None else [(width, 3, 1, 1)]
    layers: list[nn.Module] = []
    for outputs, kernel, stride, padding in shapes:
        convolution = _reflected(inputs, outputs, kernel, stride, padding)
        layers += [convolution, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
        inputs = outputs
    return nn.Sequential(*layers)


def conv_decoder(width: int, outputs: int) -> nn.Sequential:
    """Maps (B, width, H / 4, W / 4) to (B, outputs, H, W), not bounded."""
    layers: list[nn.Module] = []
    for inputs in (width, width // 2):
        convolution = _reflected(inputs, inputs // 2, 5, 1, 2)
        layers += [nn.Upsample(scale_factor=2), convolution]
        layers += [_ImageNorm(inputs // 2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, _reflected(width // 4, outputs, 7, 1, 3))


def initialize(module: nn.Module) -> None:
    """Draws the weights of a layer as the published networks do, for `nn.Module.apply`.

    The packed projections of attention keep torch's own start, uniform after Xavier.
    """
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _ImageNorm):
        nn.init.uniform_(module.gamma)


def check_width(width: int, heads: int) -> None:
    """Raises unless tokens of that width can be split among heads, and hold positions."""
    if heads < 1:
        raise ValueError(f"'heads' must be at least 1, got {heads}.")
    if width < 4 or width % 4 or width % heads:
        raise ValueError(
            f"'width' must be a multiple of 4 and of the {heads} heads, got {width}. Pass another "
            "width= or heads=."
        )


def check_multiple(image: Tensor, multiple: int) -> None:
    """Raises unless an image can be cut into whole tokens."""
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"'image' must have a height and width that are multiples of {multiple}, "
            f"got {(height, width)}. Wrap the network in opmask.OperatorMaskWrapper, which pads."
        )

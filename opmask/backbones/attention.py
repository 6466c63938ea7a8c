r"""A transformer block, in which each token of a sequence looks at all others.

Data flow: `tokens (B, N, C) -> SelfAttention -> (B, N, C)`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SelfAttention"]

HEAD_WIDTH = 32  # channels of an attention head


class SelfAttention(nn.Module):
    r"""A transformer block: attention, and then two layers for each token by itself.

    Args:
        channels: The number of channels, a multiple of 32.

    References:
        Attention Is All You Need (Vaswani et al., 2017)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_WIDTH
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.inputs = nn.Linear(channels, 3 * channels, bias=False)
        self.outputs = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Maps (B, N, C) to the same shape; `bias` (B, heads, N, N) says who looks at whom."""
        split = self.inputs(self.norms[0](tokens)).unflatten(2, (3, self.heads, HEAD_WIDTH))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        looked = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.outputs(looked.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norms[1](tokens))

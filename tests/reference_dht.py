"""The published D-HT, derived anew from its description, in its layout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from reference_harmony_transformer import ContentEncoder, Decoder, Encoder, table, tokens_of
from torch import Tensor, nn


class DecoderLayer(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, heads)
        self.multihead_attn = nn.MultiheadAttention(d, heads)
        self.linear1, self.linear2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(
        self, t: Tensor, qpos: Tensor, memory: Tensor, kpos: Tensor, mask: Tensor | None
    ) -> Tensor:
        q = k = t + qpos
        t = self.norm1(t + self.self_attn(q, k, value=t)[0])
        seen = self.multihead_attn(t + qpos, memory + kpos, value=memory, key_padding_mask=mask)
        t = self.norm2(t + seen[0])
        return self.norm3(t + self.linear2(F.gelu(self.linear1(t))))


class DecoderStack(nn.Module):
    def __init__(self, d: int, layers: int, heads: int) -> None:
        super().__init__()
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList(DecoderLayer(d, heads) for _ in range(layers))
        self.decoder.norm = nn.LayerNorm(d)

    def forward(
        self, t: Tensor, qpos: Tensor, memory: Tensor, kpos: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        for layer in self.decoder.layers:
            t = layer(t, qpos, memory, kpos, mask)
        return self.decoder.norm(t)


class LightGenerator(nn.Module):
    def __init__(self, d: int, layers: int, heads: int, encodes: bool) -> None:
        super().__init__()
        self.patch_embedding = nn.Sequential(nn.Linear(192, d))
        if encodes:
            self.transformer_enc = Encoder(d, layers, heads)
        self.transformer_dec = DecoderStack(d, layers, heads)
        self.light_embed = nn.Embedding(27, d)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The light (27, B, d), and what to look it up by."""
        tokens = self.patch_embedding(tokens_of(image, 8))
        pos = table(image.shape[2] // 8, image.shape[3] // 8, tokens.shape[2])
        hidden = tokens_of(mask, 8).sum(2).T != 0
        if hasattr(self, "transformer_enc"):
            tokens = self.transformer_enc(tokens, pos, hidden)
        queries = self.light_embed.weight[:, None].repeat(1, len(image), 1)
        start = torch.zeros_like(queries)
        return self.transformer_dec(start, queries, tokens, pos, hidden), queries


class ReferenceDHT(nn.Module):
    """Takes composite and mask; gives the product, the reflectance and the illumination."""

    def __init__(
        self, d: int = 256, layers: int = 9, heads: int = 2, version: str = "v1", n: int = 0
    ) -> None:
        super().__init__()
        self.reflectance_enc = ContentEncoder(n or d // 4, d)
        self.reflectance_dec = Decoder(d)
        self.reflectance_transformer_enc = Encoder(d, layers, heads)
        self.light_generator = LightGenerator(d, layers, heads, version == "v1")
        self.illumination_render = DecoderStack(d, layers, heads)
        self.illumination_dec = Decoder(d)

    def forward(self, comp: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.reflectance_enc(torch.cat([comp, mask], 1))
        shape = features.shape[-2:]
        pos = table(*shape, features.shape[1])
        r = self.reflectance_transformer_enc(features.flatten(2).permute(2, 0, 1), pos)
        light, by = self.light_generator(comp * (1 - mask), mask)
        lit = self.illumination_render(r, pos, light, by)
        reflectance = self.reflectance_dec(r, shape) / 2 + 0.5
        illumination = self.illumination_dec(lit, shape) / 2 + 0.5
        return reflectance * illumination, reflectance, illumination

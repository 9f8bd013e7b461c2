"""ViT-S/16 (Dosovitskiy and others, arXiv 2010.11929); names of the weights are those of timm and of DINO."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, DEPTH, PATCH = 384, 6, 12, 16


class ViT(nn.Module):
    """(n, C, S, S), S a multiple of 16 -> (n, 384): the class token, or the mean of the patches, of the last layer.

    `grid` is the side, in patches, of the images that the positions were learned on; for another they are interpolated.
    """

    def __init__(self, channels: int, grid: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, grid**2 + 1, WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)})
        self.blocks = nn.ModuleList([_Block() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patch_embed["proj"](images)  # (n, 384, S/16, S/16)
        patches = maps.flatten(2).transpose(1, 2)  # (n, patches, 384)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = tokens + self._positions(maps.shape[2], maps.shape[3])
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return tokens[:, 0] if self.pooling == "cls" else tokens[:, 1:].mean(dim=1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = round(rest.shape[1] ** 0.5)
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        maps = rest.reshape(1, grid, grid, WIDTH).permute(0, 3, 1, 2)
        resized = functional.interpolate(maps, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([first, resized.flatten(2).transpose(1, 2)], dim=1)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = _Attention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(tokens))))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, _ = tokens.shape
        query, key, value = self.qkv(tokens).reshape(n, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)  # (n, heads, length, 64)
        return self.proj(mixed.transpose(1, 2).reshape(n, length, WIDTH))

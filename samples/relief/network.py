"""The network that train.py trains: BitNet b1.58, the architecture of transformers' BitNetForCausalLM.

Names and shapes follow transformers, and so does the arithmetic of its AutoBitLinear: activations are
rounded to int8 per token (scale 127 / absmax), weights to -1, 0, 1 times their mean absolute value,
and gradients pass both roundings unchanged. Two things are done once instead of three times, because
a CPU trains this: q, k and v share one rounding of their input, and so do gate and up.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The fields of transformers' BitNetConfig that make a difference to the weights."""

    vocab_size: int = 1024
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def config(self) -> dict[str, Any]:
        """As config.json has it."""
        fields = asdict(self)
        theta = fields.pop("rope_theta")
        return {
            "architectures": ["BitNetForCausalLM"],
            "model_type": "bitnet",
            "hidden_act": "relu2",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "use_cache": True,
            "rope_theta": theta,
            **fields,
        }


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """-1, 0 or 1 for each weight, and the scale they share: their mean absolute value."""
    scale = weight.abs().mean().clamp(min=1e-5)
    return (weight * (1.0 / scale)).round().clamp(-1, 1), scale


class BitLinear(nn.Linear):
    """Weights on three levels; its input comes rounded by Norm. `mix` 0: float, 1: ternary."""

    fixed = False  # the weights are on their three levels already

    def forward(self, x: Tensor, mix: Tensor) -> Tensor:  # type: ignore[override]
        if self.fixed:
            return F.linear(x, self.weight)
        levels, scale = ternary(self.weight)
        weight = self.weight + ((levels * scale - self.weight) * mix).detach()
        return F.linear(x, weight)


class Norm(nn.Module):
    """RMSNorm and, where a BitLinear follows, the rounding of each token to int8."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x: Tensor, mix: Tensor | None = None) -> Tensor:
        x = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))
        if mix is None:
            return x
        scale = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
        return x + (((x * scale).round().clamp(-128, 127) / scale - x) * mix).detach()


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, kv = shape.hidden_size, shape.num_key_value_heads * shape.head_dim
        self.heads, self.kv_heads, self.head = (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim)
        self.q_proj, self.k_proj = BitLinear(size, size, False), BitLinear(size, kv, False)
        self.v_proj, self.o_proj = BitLinear(size, kv, False), BitLinear(size, size, False)
        self.attn_sub_norm = Norm(size, shape.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mix: Tensor) -> Tensor:
        batch, length, size = x.shape

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(batch, length, heads, self.head).transpose(1, 2)

        q = turn(split(self.q_proj(x, mix), self.heads), rope)
        k = turn(split(self.k_proj(x, mix), self.kv_heads), rope)
        v = split(self.v_proj(x, mix), self.kv_heads)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).reshape(batch, length, size)
        return self.o_proj(self.attn_sub_norm(y, mix), mix)


class Feed(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, wide = shape.hidden_size, shape.intermediate_size
        self.gate_proj, self.up_proj = BitLinear(size, wide, False), BitLinear(size, wide, False)
        self.down_proj = BitLinear(wide, size, False)
        self.ffn_sub_norm = Norm(wide, shape.rms_norm_eps)

    def forward(self, x: Tensor, mix: Tensor) -> Tensor:
        y = F.relu(self.gate_proj(x, mix)).square() * self.up_proj(x, mix)
        return self.down_proj(self.ffn_sub_norm(y, mix), mix)


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = Feed(shape)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mix: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x, mix), rope, mix)
        return x + self.mlp(self.post_attention_layernorm(x, mix), mix)


class Network(nn.Module):
    """Tokens (B, T) to logits (B, T, vocabulary)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)
        steps = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
        angles = torch.arange(shape.max_position_embeddings)[:, None] / shape.rope_theta**steps
        angles = torch.cat((angles, angles), 1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                shrink = (2 * shape.num_hidden_layers) ** -0.5 if deep else 1.0
                nn.init.normal_(weight, std=shrink * weight.shape[1] ** -0.5)

    def forward(self, tokens: Tensor, mix: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        rope = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, rope, mix)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def turn(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of (B, heads, T, D), the halves paired as transformers pairs them."""
    first, second = x.chunk(2, -1)
    return x * rope[0] + torch.cat((-second, first), -1) * rope[1]

"""The optimizer of the sample language model."""

from __future__ import annotations

from typing import Any

import torch
from network import Network
from torch import Tensor


class Optimizer:
    """Muon for the weights of the layers, AdamW for embeddings and norms.

    Muon (Jordan 2024) steps along the orthogonal factor of the momentum. torch.optim.Muon computes it
    in bfloat16, which CPUs without the instructions for it do slowly; here it is float32.
    """

    def __init__(self, network: Network, rate: float) -> None:
        self.matrices = [p for p in network.layers.parameters() if p.ndim == 2]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        others = [p for p in network.parameters() if all(p is not q for q in self.matrices)]
        self.adam = torch.optim.AdamW(others, rate, betas=(0.9, 0.95), weight_decay=0.0)

    @torch.no_grad()
    def step(self, rate: float, decay: float = 0.02) -> None:
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        for weight, momentum in zip(self.matrices, self.momenta):
            assert weight.grad is not None
            momentum.lerp_(weight.grad, 0.05)
            turned = orthogonal(weight.grad.lerp(momentum, 0.95))
            size = 0.2 * max(weight.shape) ** 0.5  # as large a step as AdamW's
            weight.mul_(1 - rate * decay).add_(turned, alpha=-rate * size)

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.momenta = state["momenta"]


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """Roughly U V of x = U S V: five steps of a Newton-Schulz iteration."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x

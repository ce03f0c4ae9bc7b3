"""Float weights stored in 16 bits and computed with in 32: a package of half the size.

ONNX Runtime widens them once, when the package is opened. The builder's own fp16 for CPUs computes in 16
bits as well, for which there are no kernels, and its graph fails at the second token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.base import Model


_LOST = 1e-3  # of a matrix' length: twice what rounding to 11 bits can lose within the range of float16


def store_half(model_class: type[Model]) -> None:
    """Replaces the function with which the builder stores matrices. One too large or too small for 16 bits stays
    float32."""
    import onnx_ir as ir
    import torch

    plain = model_class.make_initializer

    def initializer(self: Model, tensor: object, /, name: str, **options: object) -> None:
        if not name.endswith(".weight") or not isinstance(tensor, torch.Tensor) or tensor.ndim != 2:
            return plain(self, tensor, name, **options)
        exact = tensor.detach().float()
        if not (exact.half().float() - exact).norm() <= _LOST * exact.norm():
            return plain(self, tensor, name, **options)
        stored = f"{name}.fp16"
        plain(self, tensor, stored, to=ir.DataType.FLOAT16)
        self.make_node("Cast", inputs=[stored], outputs=[name], name=f"/{name}/Cast", to=ir.DataType.FLOAT)
        self.make_value(name, ir.DataType.FLOAT, shape=list(tensor.shape))

    model_class.make_initializer = initializer

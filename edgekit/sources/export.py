"""A torch module to ONNX through the current (dynamo) exporter, quietly and reproducibly."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError
from edgekit.model import OPSET

if TYPE_CHECKING:
    import onnx
    import torch


def export(
    module: torch.nn.Module | torch.export.ExportedProgram,
    inputs: tuple[torch.Tensor, ...],
    name: str,
    output_names: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """Shapes are fixed to those of `inputs`. Raises SourceError naming the operator that has no
    ONNX form."""
    import torch

    options: dict[str, Any] = {"dynamo": True, "opset_version": OPSET + 1, "verbose": False}
    if output_names:
        options["output_names"] = list(output_names)
    if isinstance(module, torch.nn.Module):
        module.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, inputs if isinstance(module, torch.nn.Module) else (), **options)
    except Exception as error:  # the exporter's errors are many and share no base class
        raise SourceError(
            f"{name} cannot be exported to ONNX",
            str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error),
            "see torch.onnx.export's report: torch.onnx.export(module, inputs, dynamo=True, report=True)",
        ) from error
    assert program is not None
    return program.model_proto

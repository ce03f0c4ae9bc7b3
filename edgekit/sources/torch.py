"""Source: torch programs. A `.pt2` exported program, or `module.py:function`.

The second is the one source that runs the user's own code: the function returns an
`nn.Module`, or `(nn.Module, example_inputs)`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from edgekit.errors import SourceError, UsageError
from edgekit.model import GraphModel, SourceInfo
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import existing_file, sha256


class TorchSource:
    name = "torch"
    form = GraphModel.form
    task = "detection"

    def matches(self, path: str) -> bool:
        file, _, function = path.rpartition(":")
        return path.lower().endswith(".pt2") or (file.endswith(".py") and function.isidentifier())

    def files(self, path: str) -> list[Path]:
        if path.lower().endswith(".pt2"):
            return [existing_file(path)]
        existing_file(path.rpartition(":")[0])
        return []

    def read(self, path: str, options: SourceOptions, into: Path) -> GraphModel:
        import torch

        from edgekit.sources import exported_program
        from edgekit.sources.export import export

        program: torch.nn.Module | torch.export.ExportedProgram
        if path.lower().endswith(".pt2"):
            file = existing_file(path)
            program, inputs, notes = exported_program.load(file), (), []
            parameters = sum(t.numel() for t in program.parameters())
            name = file.stem
        else:
            file = existing_file(path.rpartition(":")[0])
            function = path.rpartition(":")[2]
            program, inputs = _call(file, function, options)
            parameters = sum(p.numel() for p in program.parameters())
            notes = [f"ran {function}() of {file.name}: the one kind of source that runs code"]
            name = function
        graph = export(program, inputs, file.name)
        info = SourceInfo(
            self.name,
            file.name,
            sha256(file),
            file.stat().st_size,
            layout="exported program" if not inputs else "nn.Module",
            parameters=parameters,
            notes=tuple(notes),
        )
        return GraphModel(name, graph, None, info)


def _call(file: Path, function: str, options: SourceOptions):  # type: ignore[no-untyped-def]
    import torch

    spec = importlib.util.spec_from_file_location(f"edgekit_source_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        result = getattr(module, function)()
    except AttributeError as error:
        raise UsageError(f"{file.name} cannot give a model: {error}", "", f"define {function}()") from error
    except Exception as error:  # the user's own code may raise anything
        raise SourceError(
            f"{function}() of {file.name} failed",
            f"{type(error).__name__}: {error}",
            "run it on its own in Python and mend it",
        ) from error
    finally:
        sys.path.pop(0)
    network, inputs = result if isinstance(result, tuple) else (result, None)
    if not isinstance(network, torch.nn.Module):
        raise UsageError(
            f"{function}() of {file.name} returned {type(network).__name__}",
            "",
            "return an nn.Module, or (nn.Module, example_inputs)",
        )
    if inputs is None:
        if options.image_size is None:
            raise UsageError(f"{function}() returned no example inputs", "", "return them too, or pass --image-size")
        inputs = (torch.zeros(1, 3, *options.image_size),)
    return network, inputs if isinstance(inputs, tuple) else (inputs,)

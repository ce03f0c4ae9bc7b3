"""Link jobs: several DLCs become one context binary whose graphs share their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from edgekit_hub_emulator.artefacts import Specs
from edgekit_hub_emulator.compiling import ABOUT, GRAPH, ends, made_here
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import Options
from edgekit_hub_emulator.toolchain import log, versions


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """From the graphs that the DLCs were made of: only edgekit's own compile jobs' can be linked."""
    from edgekit_hub_emulator.qualcomm import link, metadata, renamed

    options = Options(job["options"])
    options.text("qairt_version")
    options.pairs("qnn_options")  # they tune; the graphs are named by their compile jobs
    if options.rest():
        raise JobError(f"The emulator cannot honour --{options.rest()[0]}.", "INVALID_ARGUMENT")
    device, graphs = job["devices"][0], {}
    inputs: Specs = []
    outputs: Specs = []
    (folder / "graphs").mkdir()
    for model in job["models"]:
        about = json.loads(made_here(model, ABOUT).read_text(encoding="utf-8"))
        name = about["graph_name"]
        if name in graphs:
            raise JobError(
                f"Two graphs are called {name}. Compile each with --qnn_options context_enable_graphs=NAME.",
                "INVALID_ARGUMENT",
            )
        graphs[name] = onnx.load(made_here(model, GRAPH))
        (folder / "graphs" / f"{len(graphs)}.json").write_text(
            json.dumps({**about, "from": model["producer"]}), encoding="utf-8"
        )
        label = name if len(job["models"]) > 1 else ""
        graph_inputs, graph_outputs = ends(graphs[name], about["quantised"], label)
        inputs, outputs = inputs + graph_inputs, outputs + graph_outputs
    log(f"linking {', '.join(graphs)}")
    if len(graphs) == 1:
        ready = list(graphs.values())
    else:
        ready = [renamed(g, n) for n, g in graphs.items()]
    (folder / "model.bin").write_bytes(link(ready, device, folder))
    about = metadata(device, list(graphs), versions().get("QAIRT", ""))
    return {"file": "model.bin", "metadata": about, "inputs": inputs, "outputs": outputs}

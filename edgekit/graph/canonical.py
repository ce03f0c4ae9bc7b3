"""From what a source gave to edgekit's canonical model: all passes, in order."""

from __future__ import annotations

import dataclasses

from edgekit.graph import count
from edgekit.graph.clean import clean_names
from edgekit.graph.decoders import recognised
from edgekit.graph.dequantise import dequantise
from edgekit.graph.drop_casts import drop_casts
from edgekit.graph.fold_gather import fold_gather
from edgekit.graph.fold_sizes import fold_sizes
from edgekit.graph.merge_convs import merge_convs
from edgekit.graph.shapes import fix_shapes
from edgekit.graph.simplify import simplify
from edgekit.graph.softmax_axis import softmax_on_last_axis
from edgekit.graph.widen import widen
from edgekit.model import GraphModel
from edgekit.sources.base import SourceOptions
from edgekit.sources.labels import labels_in
from edgekit.spec import DetectionSpec


def canonicalise(model: GraphModel, options: SourceOptions) -> GraphModel:
    """Ensures: fixed shapes, canonical outputs, a spec, nothing but computation. Raises UsageError
    when a size, decoder or labels must be said by the user."""
    name, graph = model.source.name, model.graph
    spec = None if model.spec is None else model.spec_as(DetectionSpec)
    notes: tuple[str, ...] = ()
    quantised: tuple[str, ...] = ()
    if spec is None:
        graph, half = widen(graph)
        graph, quantised = dequantise(graph, name)
        graph, notes = fold_sizes(graph, options.image_size, name)
        graph = simplify(fix_shapes(graph, options.image_size, name), name)
        labels = options.labels or labels_in(model.metadata)
        graph, spec, more = recognised(graph, name, options.decoder, labels, options.image, model.metadata)
        notes = (*half, *quantised, *notes, *more)
    graph = softmax_on_last_axis(fold_gather(merge_convs(simplify(graph, name))))
    graph, names = clean_names(drop_casts(simplify(graph, name)))
    source = dataclasses.replace(model.source, notes=(*model.source.notes, *notes))
    if source.flops is None:  # a graph as it comes has no sizes to count with
        source = dataclasses.replace(
            source,
            flops=count.flops(graph),
            parameters=source.parameters or count.parameters(graph if quantised else model.graph),
        )
    # `clean` may have renamed the image input
    spec = dataclasses.replace(spec, input=dataclasses.replace(spec.input, name=graph.graph.input[0].name))
    return GraphModel(model.name, graph, spec, source, names=names)

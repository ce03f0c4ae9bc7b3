"""Units quantised alone: the writer sees them alone, and what it writes is the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.quantize import qdq
from edgekit.quantize.regions import find_regions
from edgekit.quantize.search import run_onnx

# A shared input, an activation that reads a convolution twice, a sum of two branches, one that the writer takes into
# the convolution before it, and a convolution whose result is an output as well.
GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 8, 8] image) => (float[1, 4, 8, 8] answer, float[1, 4, 8, 8] seen)
{
    [first] a = Conv<kernel_shape: ints = [1, 1]>(image, w0)
    [gate] s = Sigmoid(a)
    [swish] b = Mul(a, s)
    [left] c = Conv<kernel_shape: ints = [1, 1]>(b, w1)
    [rectify] d = Relu(c)
    [right] seen = Conv<kernel_shape: ints = [1, 1]>(b, w1)
    [sum] e = Add(d, seen)
    [last] f = Conv<kernel_shape: ints = [1, 1]>(e, w2)
    [end] g = Conv<kernel_shape: ints = [1, 1]>(f, w2)
    [tail] answer = Exp(g)
}
"""


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    random = np.random.default_rng(3)
    model: onnx.ModelProto = onnx.parser.parse_model(GRAPH)
    for name, inputs in (("w0", 3), ("w1", 4), ("w2", 4)):
        weights = random.normal(size=(4, inputs, 1, 1)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("inferred", [True, False])
def test_a_unit_written_alone_computes_the_same(graph: onnx.ModelProto, inferred: bool) -> None:
    regions = find_regions(graph)
    assert {unit[0] for unit in regions.units} >= {"first", "left", "right", "last"}
    ranges = dict.fromkeys(("image", *"asbcdef", "seen"), (-3.0, 3.0))
    feeds = [{"image": np.random.default_rng(i).normal(size=(1, 3, 8, 8)).astype(np.float32)} for i in range(2)]
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    if not inferred:
        del shown.graph.value_info[:]
    for unit in regions.units:
        alone = run_onnx(qdq.write_alone(shown, regions, ranges, set(unit)), feeds)
        among = run_onnx(qdq.write(graph, regions, ranges, set(unit)), feeds)
        for one, other in zip(alone, among):
            for name in other:
                np.testing.assert_array_equal(one[name], other[name], err_msg=f"{unit}")

"""onnxruntime-genai's model builder, given a network in memory and layers that are already quantised.

The builder knows some 35 architectures. It loads weights by itself, quantises them by itself, computes
the rotation of positions by itself and guesses which layer is the head by its size; `build` replaces
these four for the process it runs in, which is a worker that does nothing else. Written against
onnxruntime-genai 0.18.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, SourceError
from edgekit.genai import families, half, kv_cache, rotation, ternary
from edgekit.genai.nbits import Nbits
from edgekit.genai.ternary import Mode
from edgekit.layers.packed import PackedLinear
from edgekit.layers.ternary import TernaryLinear
from edgekit.quantize.kv_cache import CacheScales
from edgekit.sources.families import head_size

if TYPE_CHECKING:
    from builders.base import Model as BuilderModel
    from torch import nn
    from transformers import PreTrainedModel

    from edgekit.layers.packed import Packed


_ACCURACY = 4  # of MatMulNBits: activations as 8-bit integers, a scale each block
ONNX = "model.onnx"


def build(
    network: PreTrainedModel,
    files: Path,
    out: Path,
    context: int,
    accuracy: int = _ACCURACY,
    mode: Mode = "exact",
    cache: CacheScales | None = None,
    store_half: bool = False,
) -> None:
    """Write model.onnx, model.onnx.data, genai_config.json and the tokenizer's files to `out`.

    network: a transformers model whose linear layers may be PackedLinear. files: its config.json and
    tokenizer. context: tokens that are kept. mode: of BitNet's layers, see genai.ternary. cache: of an
    int8 KV cache; without them it is float32. store_half: float weights take 16 bits, see genai.half.
    Raises SourceError for an architecture that the builder does not know.
    """
    os.environ["TQDM_DISABLE"] = "1"
    from onnxruntime_genai.models import builder
    from transformers.utils import logging

    logging.set_verbosity_error()
    output = io.StringIO()
    out.mkdir(parents=True, exist_ok=True)
    try:
        changed = _changed_back(*rotation.models(builder))
        with contextlib.redirect_stdout(output), kv_cache.builder_options(cache) as of_cache, changed:
            _replace_loading(network, mode)
            families.mend_builders(builder)
            rotation.replace_tables(builder, network, context)
            if store_half:
                half.store_half(builder.Model)
            # A cache as short as its window cannot be rewound past it, and Mistral's cannot be read past it.
            extra = [
                "windowed_kv_cache=false",
                "prune_lm_head=true",
                f"int4_accuracy_level={accuracy}",
                f"fuse_qkv={_word(_can_fuse(network))}",
                f"shared_embeddings={_word(_is_tied(network))}",
                *of_cache,
            ]
            options = builder.parse_extra_options(None, str(files), str(out), "fp32", "cpu", str(out / ".cache"), extra)
            families.settle_config(options["hf_details"]["hf_config"], network, context)
            builder.create_model(None, str(files), str(out), "fp32", "cpu", str(out / ".cache"), **options)
    except NotImplementedError as error:
        family = (getattr(network.config, "architectures", None) or ["?"])[0]
        raise SourceError(
            f"onnxruntime-genai cannot build {family}", str(error), "edgekit convert --help names the families it can"
        ) from error
    except Exception as error:  # the library raises whatever its code does
        raise ConversionError(
            "onnxruntime-genai's model builder failed on this model", f"{type(error).__name__}: {error}"[:300]
        ) from error
    _settle_config(out / "genai_config.json", context, cache is not None)


@contextlib.contextmanager
def _changed_back(*classes: type) -> Iterator[None]:
    """Restores the classes when the block ends: what is replaced serves one network, and a process may build
    several."""
    before = [dict(vars(c)) for c in classes]
    try:
        yield
    finally:
        for changed, old in zip(classes, before):
            for name, value in dict(vars(changed)).items():
                if old.get(name) is not value and not name.startswith("__"):
                    setattr(changed, name, old[name]) if name in old else delattr(changed, name)


def _replace_loading(network: PreTrainedModel, mode: Mode) -> None:
    import onnxruntime_genai
    from builders import base  # as onnxruntime_genai.models puts it on sys.path

    Model = base.Model  # noqa: N806
    fused_rope = Model.is_fused_rope_supported
    # The builder asks git for the commit of whatever repository lies around its own files, and writes it into the model.
    Model.get_genai_commit = classmethod(lambda cls: getattr(onnxruntime_genai, "__commit__", None))

    def matmul(self: BuilderModel, layer: nn.Module, basename: str, root_input: str, **options: object) -> str:
        if isinstance(layer, TernaryLinear):
            return ternary.make(self, [layer], basename, root_input, mode)
        if isinstance(layer, PackedLinear):
            return self.make_matmul_nbits(Nbits([layer.packed]), basename, root_input, **options)
        return self.make_matmul_float(layer, basename, root_input, **options)

    def packed_matmul(
        self: BuilderModel, q: Any, k: Any, v: Any, basename: str, root_input: str, **options: object
    ) -> str:
        if isinstance(q, TernaryLinear):
            return ternary.make(self, [q, k, v], basename, root_input, mode)
        if isinstance(q, PackedLinear):
            return self.make_matmul_nbits(Nbits([x.packed for x in (q, k, v)]), basename, root_input, **options)
        return self.make_packed_matmul_float(q, k, v, basename, root_input, **options)

    def packable(self: BuilderModel, layer_id: int, attention: nn.Module) -> bool:
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        kinds = {(x.packed.bits, x.packed.block) if isinstance(x, PackedLinear) else type(x) for x in layers}
        return len(kinds) == 1

    def lookup(self: BuilderModel, embedding: nn.Module, basename: str, lm_head: nn.Module) -> str:
        table = self.weights.get_input_embeddings()
        if hasattr(table, "packed"):
            return _gather_packed(self, table.packed, basename)
        return original_lookup(self, embedding, basename, lm_head)

    def unpack_attention(
        self: BuilderModel, layer_id: int, attention: nn.Module, fused: nn.Module, root: str, **options: object
    ) -> None:
        if not isinstance(fused, PackedLinear):
            return original_attention(self, layer_id, attention, fused, root, **options)
        ends = (0, self.q_size, self.q_size + self.kv_size, fused.out_features)
        for name, low, high in zip(("q_proj", "k_proj", "v_proj"), ends, ends[1:]):
            setattr(attention, name, fused.part(slice(low, high)))

    def unpack_mlp(self: BuilderModel, layer_id: int, mlp: nn.Module, fused: nn.Module, root: str) -> None:
        if not isinstance(fused, PackedLinear):
            return original_mlp(self, layer_id, mlp, fused, root)
        mlp.gate_proj = fused.part(slice(0, self.intermediate_size))
        mlp.up_proj = fused.part(slice(self.intermediate_size, None))

    original_attention = Model.make_attention_unpacked_regular
    original_mlp = Model.make_mlp_unpacked_regular
    original_lookup = Model.make_embedding_lookup
    base.tqdm = functools.partial(base.tqdm, disable=True)
    Model.make_attention_unpacked_regular = unpack_attention
    Model.make_mlp_unpacked_regular = unpack_mlp
    Model.load_weights = lambda self, path: network
    Model.make_matmul_op = matmul
    Model.make_packed_matmul = packed_matmul
    Model.is_qkv_projection_packable = packable
    Model.make_embedding_lookup = lookup
    Model.has_lm_head = lambda self, module: module is network.get_output_embeddings()
    # GroupQueryAttention rotates multiples of 16 only; other heads are rotated before it.
    Model.is_fused_rope_supported = lambda self: fused_rope(self) and _can_fuse(network)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _can_fuse(network: PreTrainedModel) -> bool:
    rotated = 2 * len(rotation.frequencies(network)[0])
    return rotated % 16 == 0 and head_size(network.config.get_text_config()) % 16 == 0


def _is_tied(network: PreTrainedModel) -> bool:
    """Whether embedding and head are one float table, stored once."""
    table, head = network.get_input_embeddings(), network.get_output_embeddings()
    packed = isinstance(head, PackedLinear) or hasattr(table, "packed")
    return not packed and table.weight is head.weight


def _gather_packed(model: BuilderModel, packed: Packed, basename: str) -> str:
    """Rows of a quantised embedding, made float as they are read."""
    import onnx_ir as ir

    head = model.weights.get_output_embeddings()
    shared = isinstance(head, PackedLinear) and head.packed is packed
    name, node = ("lm_head.MatMulNBits" if shared else "model.embed_tokens", f"{basename}/GatherBlockQuantized")
    if not shared:
        model.make_initializer(packed.weight, f"{name}.qweight")
        model.make_initializer(packed.scales, f"{name}.scales", to=ir.DataType.FLOAT)
    flat = [packed.rows, packed.weight.shape[1] * packed.weight.shape[2]]
    model.make_reshape(
        f"{basename}/Reshape",
        [f"{name}.qweight", f"/model/constants/INT64/{flat}"],
        dtype=ir.DataType.UINT8,
        shape=flat,
    )
    inputs = [f"{basename}/Reshape/output_0", model.input_names["input_ids"], f"{name}.scales"]
    if packed.zeros is not None:
        if not shared:
            model.make_initializer(packed.zeros, f"{name}.qzeros")
        inputs.append(f"{name}.qzeros")
    model.make_node(
        "GatherBlockQuantized",
        inputs=inputs,
        outputs=[f"{node}/output_0"],
        name=node,
        domain="com.microsoft",
        bits=packed.bits,
        block_size=packed.block,
        gather_axis=0,
        quantize_axis=1,
    )
    return f"{node}/output_0"


def _settle_config(path: Path, context: int, int8: bool) -> None:
    """Sets the lengths in genai_config.json: the cache is allocated for `search.max_length`, which must be no
    more than the context."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["context_length"] = context
    config["search"]["max_length"] = context
    if int8:  # the builder has one of int8 copied at every token, though the kernel appends in place
        config["search"]["past_present_share_buffer"] = True
    config["search"]["do_sample"] = False
    path.write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")

"""What a model is, in plain data: tensors, image pre-processing, detection post-processing, text.

Frozen dataclasses that turn into plain JSON and back. Both halves of edgekit read them: the
conversion writes them into the manifest, the runtime follows them. No imports beyond the
standard library.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class Precision(enum.StrEnum):
    """Weights × activations, as the field writes them."""

    FP32 = "fp32"
    FP16 = "fp16"
    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W8 = "w8"
    W4 = "w4"
    TERNARY = "ternary"

    @property
    def is_float(self) -> bool:
        return self in (Precision.FP32, Precision.FP16)

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be known beforehand."""
        return self in (Precision.W8A8, Precision.W8A16)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` is fixed; `layout` names its axes (`NCHW`, `BN4`, `BCN`).

    Integers stand for `(integer - zero_point) * scale` when there is a scale, else for themselves.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class ImageSpec:
    """How an image becomes the input tensor: `tensor = (pixel - mean) / std`, pixels 0..255.

    resize: `letterbox` (keep aspect, centred, rest padded), `letterbox-topleft`, or `stretch`.
    """

    height: int
    width: int
    resize: Literal["letterbox", "letterbox-topleft", "stretch"] = "letterbox"
    pad: int = 114
    color: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)


@dataclass(frozen=True)
class DetectionSpec:
    """A detector in edgekit's canonical form.

    Outputs are those of the graph, in model-input pixels:
    `boxes` float32 (B, N, 4) as x1 y1 x2 y2, `scores` float32 (B, C, N) as probabilities.
    That is the input layout of ONNX NonMaxSuppression. A graph that already suppressed
    duplicates (`nms_in_graph`) has `scores` (B, N) and `classes` (B, N) instead.
    """

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    image: ImageSpec
    labels: tuple[str, ...]
    decoder: str
    nms_in_graph: bool = False
    score_threshold: float = 0.25
    iou_threshold: float = 0.7
    max_detections: int = 300
    task: str = "detection"


_DTYPES = ("float32", "uint8", "int8", "uint16", "int16")
_LARGEST = 2**26  # elements: more than any detector's input or output, less than harms a machine


def check_detection(spec: DetectionSpec) -> None:
    """Raises ValueError for what no engine should be asked to do."""
    if spec.task != "detection":
        raise ValueError(f"task {spec.task!r} is not one this edgekit knows")
    for tensor in (spec.input, *spec.outputs):
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{tensor.name}: dtype {tensor.dtype!r} is not one of {', '.join(_DTYPES)}")
        if tensor.scale is not None and not (math.isfinite(tensor.scale) and tensor.scale > 0):
            raise ValueError(f"{tensor.name}: {tensor.scale} is no scale")
        if abs(tensor.zero_point) >= 2**31:
            raise ValueError(f"{tensor.name}: {tensor.zero_point:.3g} is no zero point")
        if tensor.dtype in ("int8", "int16", "uint16") and tensor.scale is None:
            raise ValueError(f"{tensor.name}: {tensor.dtype} needs a scale")
        if any(d < -1 or d == 0 for d in tensor.shape) or abs(math.prod(tensor.shape)) > _LARGEST:
            raise ValueError(f"{tensor.name}: {list(tensor.shape)} is no shape")
    if min(spec.input.shape) < 1 or len(spec.input.shape) not in (3, 4):
        raise ValueError(f"{spec.input.name}: {list(spec.input.shape)} is no image")
    if not {spec.image.height, spec.image.width} <= set(spec.input.shape):
        raise ValueError("the image does not have the input's size")
    if not all(math.isfinite(v) for v in spec.image.mean) or not all(math.isfinite(v) and v for v in spec.image.std):
        raise ValueError("mean and std must be finite, and std not zero")
    if not 0 <= spec.image.pad <= 255:
        raise ValueError(f"{spec.image.pad} is no grey level")
    if not 0 <= spec.score_threshold <= 1 or not 0 <= spec.iou_threshold <= 1:
        raise ValueError("its thresholds are not between 0 and 1")
    if not 1 <= spec.max_detections <= 100_000 or len(spec.labels) > 100_000:
        raise ValueError("it has too many labels or detections")
    wanted = {"boxes", "scores", *(("classes",) if spec.nms_in_graph else ())}
    if {o.name for o in spec.outputs} != wanted:
        raise ValueError(f"its outputs are not {', '.join(sorted(wanted))}")


@dataclass(frozen=True)
class Sampling:
    """What a model's authors recommend (generation_config.json); temperature 0 is greedy."""

    temperature: float = 0.0
    top_k: int = 0  # 0: no limit
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class TextSpec:
    """A causal language model: what its engine needs besides ONNX Runtime GenAI's own files.

    `context_length` tokens are kept, and the KV cache is allocated for as many; `kv_cache_bytes` is
    its size then, `kv_cache` what it holds. `stop`: ids that end a text. `vocabulary` names the file
    of the tokens' bytes.
    """

    family: str  # the architecture, as Hugging Face names it
    vocab_size: int  # logits a position
    context_length: int
    trained_context: int
    kv_cache_bytes: int
    stop: tuple[int, ...]
    bos: int | None = None
    add_bos: bool = False  # before a bare prompt; a chat template writes its own
    chat: bool = False  # whether there is a chat template
    sampling: Sampling = Sampling()
    vocabulary: str = "tokens.bin"
    tokenizer: Literal["genai", "tokenizers"] = "genai"  # what makes ids of text
    kv_cache: Literal["float32", "float16", "int8"] = "float32"
    task: str = "text-generation"


ModelSpec = DetectionSpec | TextSpec


def check_text(spec: TextSpec) -> None:
    """Raises ValueError for what no engine should be asked to do."""
    if spec.task != "text-generation":
        raise ValueError(f"task {spec.task!r} is not one this edgekit knows")
    if not 0 < spec.vocab_size <= 2**22:
        raise ValueError(f"{spec.vocab_size} is no size of a vocabulary")
    if not 0 < spec.context_length <= 2**22:
        raise ValueError(f"{spec.context_length} is no length of a context")
    ids = (*spec.stop, *(() if spec.bos is None else (spec.bos,)))
    if not all(0 <= i < spec.vocab_size for i in ids) or (spec.add_bos and spec.bos is None):
        raise ValueError("its special tokens are not in its vocabulary")
    s = spec.sampling
    if not (0 <= s.temperature <= 100 and s.top_k >= 0 and 0 < s.top_p <= 1 and 0 <= s.min_p < 1):
        raise ValueError("its sampling means nothing")
    if not 0 < s.repetition_penalty <= 100:
        raise ValueError("its sampling means nothing")


def check_spec(spec: ModelSpec) -> None:
    """Raises ValueError for what no engine should be asked to do."""
    check_detection(spec) if isinstance(spec, DetectionSpec) else check_text(spec)


def to_json(value: Any) -> Any:
    """Dataclasses, enums and tuples as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Rebuild `kind` from plain JSON. Raises ValueError naming the field that does not fit.

    Unknown keys are ignored, so that a newer minor schema can add some.
    """
    return typing.cast(T, _build(kind, value, kind.__name__))


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _build(_alternative([a for a in args if a is not type(None)], value), value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list")
        items = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(items) != len(value):
            raise ValueError(f"{where}: expected {len(items)} values, found {len(value)}")
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(items, value)))
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list")
        return [_build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object")
        return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{where}: a number with too many digits") from error
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _alternative(kinds: list[Any], value: Any) -> Any:
    """Of several dataclasses the one whose `task` the value has; the first by default."""
    task = value.get("task") if isinstance(value, dict) else None
    return next((k for k in kinds if task is not None and getattr(k, "task", None) == task), kinds[0])


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        if f.name in value:
            fields[f.name] = _build(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: {f.name} is missing")
    return kind(**fields)

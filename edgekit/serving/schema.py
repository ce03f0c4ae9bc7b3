"""What a request may hold: one type for each kind, and every field is checked or refused by its name.

Nothing is converted: "8" is no number here, true is none, and 8.0 is no count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from edgekit.serving.json_schema import read_schema
from edgekit.serving.protocol import RequestError
from edgekit.system.documents import JsonObject

LARGEST = 8 * 2**20  # bytes of a request
_MESSAGES, _PARTS, _STOPS = 10_000, 1_000, 16
_SEEDS = 2**64
# A comma takes about a token, so more of them fit no model's context; and what is between them becomes
# objects, while no other request is served.
_COMMAS = 2**18
_NAMED = 2**20  # bytes in which a wrong character is looked for, to name its field
_COLDEST = 1e-3  # below, a float32 logit less the likeliest one is nothing: greedy

_NULL = Raw(b"null")

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Stop = Annotated[str, Meta(min_length=1, max_length=256)]


class Part(Struct):
    """A piece of a content; what belongs to pictures is not looked at, because `type` refuses them."""

    type: str
    text: str | None = None


class Message(Struct, forbid_unknown_fields=True):
    """`refusal` and the rest of what an answer has come back in the next request, empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: Raw = _NULL
    audio: Raw = _NULL
    function_call: Raw = _NULL
    tool_calls: Raw = _NULL


class JsonSchema(Struct, forbid_unknown_fields=True):
    schema: Raw
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Format(Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding of the pieces: there is none


class Common(Struct, forbid_unknown_fields=True, kw_only=True):
    """What both kinds of request take. What apps send that do not use it is accepted when it is empty."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=_STOPS)] | None = None
    response_format: Format | None = None
    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Raw = _NULL
    # Of no consequence on one's own machine.
    user: str | None = None
    store: bool | None = None
    metadata: Raw = _NULL
    service_tier: str | None = None


class Chat(Common, kw_only=True):
    messages: Annotated[list[Raw], Meta(min_length=1, max_length=_MESSAGES)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Raw = _NULL
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None


class Completion(Common, kw_only=True):
    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None


@dataclass(frozen=True)
class Question:
    """A request in the runtime's words. `subject`: messages, or a prompt."""

    chat: bool
    subject: list[dict[str, str]] | str
    options: dict[str, Any]
    stream: bool
    totals: bool


_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
# Not supported; the values that ask for nothing.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": (b"{}",),
    "tools": (b"[]",),
    "tool_calls": (b"[]",),
    "annotations": (b"[]",),
    "audio": (),
    "function_call": (),
    "refusal": ("",),
}
_CHAT, _COMPLETION = msgspec.json.Decoder(Chat), msgspec.json.Decoder(Completion)
_MESSAGE = msgspec.json.Decoder(Message)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_HALF = r"\ufffe"  # no character; stands for half of a surrogate pair while its field is looked for


def read(content: bytes, chat: bool) -> Question:
    """Raises RequestError, with the field that is wrong."""
    if content.count(b",") > _COMMAS:
        raise RequestError(f"The request has more than {_COMMAS} values", status=413, param="body")
    try:
        return _asked(content, chat)
    except RecursionError as error:
        raise RequestError("The request is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise RequestError("The request is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except msgspec.DecodeError as error:
        _refuse_halves(content, chat)
        raise RequestError("The request is not JSON", str(error)) from error


def _asked(content: bytes, chat: bool) -> Question:
    body: Chat | Completion = _CHAT.decode(content) if chat else _COMPLETION.decode(content)
    _check_nothing(body)
    if isinstance(body, Chat):
        subject: list[dict[str, str]] | str = _messages(body)
    else:
        subject = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
    if not subject:
        raise RequestError("prompt is empty", "", "give the model something to continue", param="prompt")
    totals = bool(body.stream_options and body.stream_options.include_usage)
    return Question(chat, subject, _options(body), bool(body.stream), totals)


def _options(body: Chat | Completion) -> JsonObject:
    given = {name: getattr(body, name) for name in _SAMPLING}
    taken = {name: value for name, value in given.items() if value is not None}
    if taken.get("seed", 0) >= _SEEDS:
        raise RequestError("seed is not below 2**64", param="seed")
    if taken.get("temperature", 1) < _COLDEST:
        taken["temperature"] = 0.0
    taken["max_tokens"] = body.max_tokens or 16
    taken["overflow"] = "error"
    if isinstance(body, Chat):
        taken["max_tokens"] = body.max_completion_tokens or body.max_tokens or 1024
        taken["overflow"] = "truncate"
        if body.logprobs:
            taken["logprobs"] = body.top_logprobs or 0
        elif body.top_logprobs:
            raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")
    elif body.logprobs is not None:
        taken["logprobs"] = body.logprobs
    if body.stop:
        taken["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    if schema := _schema(body.response_format):
        if body.min_p:
            raise RequestError("min_p and response_format do not go together", "", "use top_p", param="min_p")
        taken["schema"] = schema
    return taken


def _schema(output: Format | None) -> JsonObject | None:
    if output is None or output.type == "text":
        return None
    if output.type == "json_object":
        return {"type": "object"}
    where = "response_format.json_schema"
    if output.json_schema is None:
        raise RequestError(f"{where} is missing", param=where)
    return read_schema(bytes(output.json_schema.schema), f"{where}.schema")


def _messages(body: Chat) -> list[dict[str, str]]:
    messages = []
    for i, raw in enumerate(body.messages):
        try:
            message = _MESSAGE.decode(raw)
        except msgspec.ValidationError as error:
            raise _refusal(error, f"messages[{i}]") from error
        _check_nothing(message, f"messages[{i}].")
        # What `developer` says is what `system` said before; small models know the older word.
        role = "system" if message.role == "developer" else message.role
        messages.append({"role": role, "content": _content(message, f"messages[{i}].content")})
    return messages


def _content(message: Message, where: str) -> str:
    """Parts become one text. An assistant that said nothing (null) said "": so clients send it back."""
    if isinstance(message.content, str):
        return message.content
    if message.content is None:
        if message.role != "assistant":
            raise RequestError(f"{where} is missing or null", "only an assistant's may be", param=where)
        return ""
    if len(message.content) > _PARTS:
        raise RequestError(f"{where} has more than {_PARTS} parts", param=where)
    for i, part in enumerate(message.content):
        if part.type != "text" or part.text is None:
            raise RequestError(
                f"{where}[{i}] is no text", "this is a language model without eyes or ears", param=f"{where}[{i}].type"
            )
    return "".join(part.text or "" for part in message.content)


def _check_nothing(body: Struct, within: str = "") -> None:
    for name, nothing in _NOTHING.items():
        value = getattr(body, name, None)
        value = bytes(value).replace(b" ", b"") if isinstance(value, Raw) else value
        if value is not None and value != b"null" and value not in nothing:
            raise RequestError(f"{within}{name} is not supported", "", "leave it out", param=within + name)


def _refusal(error: msgspec.ValidationError, within: str = "") -> RequestError:
    why, _, path = str(error).rpartition(" - at `$")
    why, path = (why, path.rstrip("`")) if why else (str(error), "")
    where = (within + path).lstrip(".")
    if missing := re.match(r"Object (?:contains unknown|missing required) field `(.*)`", why, re.DOTALL):
        where = f"{where}.{missing[1][:100]}".lstrip(".")
        verb = "is missing" if "missing" in why.split("`")[0] else "is not supported"
        return RequestError(f"{where} {verb}", param=where)
    return RequestError(f"{where or 'The request'} is not as it should be", why[:300], param=where or None)


def _refuse_halves(content: bytes, chat: bool) -> None:
    """Raises RequestError with the field when half of a surrogate pair is all that is wrong with the JSON."""
    if len(content) > _NAMED:
        return
    marked = _ESCAPE.sub(lambda m: rb"\ufffe" if m[1] else m[0], content)
    if marked == content:
        return
    try:
        _asked(marked, chat)
        where = _holder(_CHAT.decode(marked) if chat else _COMPLETION.decode(marked))
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except (msgspec.MsgspecError, RecursionError):
        return
    raise RequestError(
        f"{where or 'A text'} holds half of a surrogate pair", "it is no character, and no UTF-8", param=where
    )


def _holder(body: Chat | Completion) -> str | None:
    """The field that holds the mark of `_refuse_halves`."""
    if isinstance(body, Chat):
        for i, raw in enumerate(body.messages):
            message = _MESSAGE.decode(raw)
            for name in ("content", "name"):
                if _HALF in repr(getattr(message, name)):
                    return f"messages[{i}].{name}"
    output = body.response_format
    if output and output.json_schema and _HALF.encode("ascii") in bytes(output.json_schema.schema):
        return "response_format.json_schema.schema"
    return next((n for n in body.__struct_fields__ if _HALF in repr(getattr(body, n))), None)

"""The process that holds the model: `python -m edgekit.serving.worker`, started by `serving.model`.

A package's template and a client's schema are code of strangers, read by native libraries. Here they may
loop, take memory or crash, and nothing is lost but this process.

    {"open": PACKAGE, "threads": n, "simulate": false}                   -> {"ready": {...}}
    {"id": 1, "chat": true, "subject": [...], "options": {...}}         -> {"stage": "messages"} ...
        {"stage": ""}, {"text": "..."} ..., {"done": {...}}
    {"cancel": 1}                                                        ends the answer after its token
    {"error": {...}} may come in place of any
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.errors import EdgekitError
from edgekit.runtime.room import at_most
from edgekit.runtime.text.generation import parse_request
from edgekit.runtime.text.generator import LanguageModel
from edgekit.runtime.text.prompts import check_size
from edgekit.spec import Sampling, TextSpec
from edgekit.system.child import answer, limit_memory
from edgekit.system.documents import JsonObject

_SPARE = 3 * 2**29  # bytes for a schema, a template and the engine's own; beside the model


class Worker:
    def __init__(self) -> None:
        self._llm: LanguageModel | None = None
        self._cancelled = 0

    def aside(self, question: JsonObject) -> bool:
        """Takes what cannot wait for its turn."""
        if "cancel" not in question:
            return False
        self._cancelled = question["cancel"]
        if self._llm is not None:
            self._llm.cancel()
        return True

    def handle(self, question: JsonObject) -> Iterator[JsonObject]:
        try:
            yield from self._open(question) if "open" in question else self._answer(question)
        except EdgekitError as error:
            yield {"error": error.to_dict()}
        except (SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError):
            raise
        except BaseException as error:  # of a native library (a panic of Rust's is no Exception)
            why = f"{type(error).__name__}: {error}"[:300]
            yield {"error": EdgekitError("The model could not answer", why).to_dict()}

    def _open(self, question: JsonObject) -> Iterator[JsonObject]:
        from edgekit.runtime import load_text

        self._llm = load_text(question["open"], question["threads"], question["simulate"])
        limit_memory(_room(self._llm.spec))
        yield {"ready": {"context_length": self._llm.spec.context_length}}

    def _answer(self, question: JsonObject) -> Iterator[JsonObject]:
        llm, chat, options = self._llm, question["chat"], question["options"]
        assert llm is not None
        if options.get("schema"):
            options["seed"] = options.get("seed", 0) % 2**31 if "seed" in options else None  # an int of C
            yield {"stage": "response_format"}
            self._try_schema(llm, options)
        yield {"stage": "messages" if chat else "prompt"}
        if not chat:
            check_size(question["subject"], llm.spec)
        begin = llm.chat_stream if chat else llm.stream
        pieces = begin(question["subject"], **options)
        yield {"stage": ""}  # what strangers wrote is read; from here on it takes the time it takes
        for piece in pieces:
            if self._cancelled == question["id"]:  # also before the generation began
                llm.cancel()
            yield {"text": piece}
        done = llm.last
        assert done is not None
        scores = [(s.text, s.logprob, s.alternatives) for s in done.scores]
        yield {
            "done": {
                "finish": done.finish,
                "tokens": len(done.tokens),
                "prompt_tokens": done.prompt_tokens,
                "read": done.read,
                "scores": scores,
            }
        }

    def _try_schema(self, llm: LanguageModel, options: JsonObject) -> None:
        """Compiles the schema on its own: a prompt may take minutes to read, and this may not."""
        schema = parse_request(llm.spec, options).schema
        llm.session.guided([llm.spec.stop[0] if llm.spec.stop else 0], schema, Sampling())


def _room(spec: TextSpec) -> int:
    """Bytes that answering may take: two caches while a schema is followed and one changes for the next,
    the logits of a whole prompt, and as much beside. Never more than the machine has."""
    room = _SPARE + 3 * spec.kv_cache_bytes + 8 * spec.vocab_size * spec.context_length
    return at_most(room)


if __name__ == "__main__":
    worker = Worker()
    answer(worker.handle, aside=worker.aside)

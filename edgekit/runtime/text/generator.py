"""Language models: text in, text out, piece by piece.

llm = load("dist/smol-cpu-w4")
for piece in llm.stream("Once upon a time", max_tokens=64):
    print(piece, end="")
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, overload

from edgekit.errors import UsageError
from edgekit.package.folder import Package
from edgekit.runtime.engine import Array, EngineOptions
from edgekit.runtime.measuring import Effort, Timings
from edgekit.runtime.opening import open_text_session
from edgekit.runtime.runner import Runner
from edgekit.runtime.text.generation import Generation, Request, TokenScore, parse_request, scores
from edgekit.runtime.text.prompts import Message, fit_messages, fit_tokens, message_tokens
from edgekit.runtime.text.sampling import Sampler
from edgekit.runtime.text.session import TextSession
from edgekit.runtime.text.timing import measure_text
from edgekit.runtime.text.tokens import Pieces, Tokens
from edgekit.spec import TextSpec

__all__ = ["Generation", "LanguageModel", "Message", "TokenScore"]


@dataclass
class _Running:
    """One text being generated."""

    request: Request
    prompt: list[int]
    pieces: Pieces
    sampler: Sampler
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    why: str = ""  # it ended

    def take(self, token: int, logits: Array | None, stop: Sequence[int], names: Tokens) -> str:
        """Add a token; returns the text that is certain now."""
        if token in stop:
            self.why = "stop"
            return ""
        self.tokens.append(token)
        if self.request.logprobs is not None and logits is not None:
            self.scores.append(scores(logits, token, self.request.logprobs, names))
        piece = self.pieces.add(token)
        if self.pieces.stopped:
            self.why = "stop"
        elif len(self.tokens) >= self.request.max_tokens:
            self.why = "length"
        self.text.append(piece)
        return piece

    def rest(self) -> str:
        """The text that was held back, at the end."""
        self.text.append(self.pieces.finish())
        return self.text[-1]


class LanguageModel(Runner):
    """A text-generation package, ready to run. Not for concurrent use: its cache is shared by calls.

    The cache is kept: a prompt that begins as the last one did, above all the next turn of a chat,
    is read from where it differs.
    """

    noun = TextSpec.noun

    def __init__(self, spec: TextSpec, session: TextSession, tokens: Tokens) -> None:
        self.spec, self.session, self.tokens = spec, session, tokens
        self._cancelled = False
        self.last: Generation | None = None  # of the latest stream, once it ended

    @classmethod
    def open(cls, package: Package, options: EngineOptions) -> Self:
        """Raises UsageError for a package that is no language model; else as `edgekit.runtime.load`."""
        spec = package.manifest.model_as(TextSpec)
        session = open_text_session(package, options)  # checks every file
        return cls(spec, session, Tokens(package.read(spec.vocabulary)))

    @property
    def threads(self) -> int:
        return self.session.threads

    @property
    def simulator(self) -> str:
        return self.session.simulator

    def measure(self, effort: Effort) -> Timings:
        return measure_text(self.session, self.spec, effort)

    def probe(self) -> Mapping[str, Array]:
        """`logits` float32 (V,) after one token."""
        self.session.start([self.spec.bos or 0])
        return {"logits": self.session.logits()}

    @overload
    def generate(self, prompt: str, **options: Any) -> Generation: ...
    @overload
    def generate(self, prompt: Sequence[str], **options: Any) -> list[Generation]: ...
    def generate(self, prompt: str | Sequence[str], **options: object) -> Generation | list[Generation]:
        """The continuation of a prompt, as a Generation (its `text`; `str()` of it as well). A list
        of prompts gives a list, generated side by side where the engine can, else one after another.

        Options: max_tokens (256), temperature, top_k, top_p, min_p, repetition_penalty (defaults
        from the package; temperature 0 is greedy, and then nothing of the package's applies), seed, stop (strings), logprobs (how many
        alternatives), schema (a JSON schema the text must follow), overflow ("error": a prompt that
        does not fit is refused; "truncate": its oldest part is left out; "shift": so is the oldest
        half when the context is full), allow_special (special tokens in the text count as such).
        """
        request = parse_request(self.spec, options)
        if not isinstance(prompt, str):
            return self._batch([self._prompt(p, request) for p in prompt], request)
        return self._alone(self._prompt(prompt, request), request)

    def stream(self, prompt: str, **options: object) -> Iterator[str]:
        """As `generate`, piece by piece: each is whole characters. `last` then holds the Generation."""
        request = parse_request(self.spec, options)
        return self._run(self._prompt(prompt, request), request)

    def chat(self, messages: Sequence[Message], **options: object) -> Generation:
        """The next answer in a conversation: dictionaries with `role` and `content`.

        Options as of `generate`. Special tokens in the contents are plain characters.
        """
        for _ in self.chat_stream(messages, **options):
            pass
        assert self.last is not None
        return self.last

    def chat_stream(self, messages: Sequence[Message], **options: object) -> Iterator[str]:
        """As `chat`, piece by piece."""
        request = parse_request(self.spec, options)
        if not self.spec.chat:
            raise UsageError(
                "This model has no chat template",
                "it continues text, it was not trained to answer",
                "use generate or stream",
            )
        return self._run(fit_messages(self.session.tokenizer, self.spec, messages, request), request)

    def count(self, text: str) -> int:
        """How many tokens a text is."""
        return len(self.session.tokenizer.encode_plain(text))

    def cancel(self) -> None:
        """End the running generation after its current token; may be called from another thread."""
        self._cancelled = True

    def reset(self) -> None:
        """Forget the cached prompt, and free its memory."""
        self.session.reset()

    def _prompt(self, text: str, request: Request) -> list[int]:
        encoded = message_tokens(self.session.tokenizer, text, request.allow_special)
        bos = [self.spec.bos] if self.spec.add_bos and self.spec.bos is not None else []
        if encoded[:1] == bos:
            bos = []
        if not encoded and not bos:
            raise UsageError("The prompt is empty", "", "give the model something to continue")
        return fit_tokens(bos, encoded, self.spec, request)

    def _run(self, prompt: list[int], request: Request) -> Iterator[str]:
        if request.schema:
            return self._guided(prompt, request)
        return self._sampled(prompt, request)

    def _sampled(self, prompt: list[int], request: Request) -> Iterator[str]:
        run, session = self._begin(prompt, request), self.session
        start = time.perf_counter()
        read = session.start(prompt)
        first, timed = 0.0, time.perf_counter() - start
        while not run.why:
            logits = session.logits()
            token = run.sampler(logits, (prompt + run.tokens) if request.penalises else ())
            first = first or time.perf_counter()
            piece = run.take(token, logits, self.spec.stop, self.tokens)
            if self._cancelled:
                run.why = "cancelled"
            if piece:
                yield piece
            if not run.why:
                self._make_room(run)
            if not run.why:
                session.append([token])
        if rest := run.rest():
            yield rest
        self.last = self._ended(run, read, timed, time.perf_counter() - first)

    def _make_room(self, run: _Running) -> None:
        if self.session.held < self.spec.context_length:
            return
        if run.request.overflow != "shift":
            run.why = "length"
            return
        bos = [self.spec.bos] if self.spec.add_bos and self.spec.bos is not None else []
        recent = (run.prompt + run.tokens)[:-1][-self.spec.context_length // 2 :]
        self.session.start(bos + recent)

    def _guided(self, prompt: list[int], request: Request) -> Iterator[str]:
        """The engine masks and samples here: it alone knows which tokens the schema allows."""
        run, start = self._begin(prompt, request), time.perf_counter()
        text = self.session.guided(prompt, request.schema, request.sampling, request.seed)
        timed = time.perf_counter() - start
        first = time.perf_counter()
        while not run.why:
            if text.done:
                run.why = "stop" if text.held < self.spec.context_length else "length"
                break
            logits = text.logits() if request.logprobs is not None else None
            piece = run.take(text.next(), logits, self.spec.stop, self.tokens)
            if self._cancelled:
                run.why = "cancelled"
            if piece:
                yield piece
        if rest := run.rest():
            yield rest
        self.last = self._ended(run, len(prompt), timed, time.perf_counter() - first)

    def _batch(self, prompts: list[list[int]], request: Request) -> list[Generation]:
        stop = set(self.spec.stop)
        shortest = min((len(p) for p in prompts), default=0)
        alone = request.schema or request.overflow == "shift" or len(prompts) < 2 or not self.session.batches
        if alone or any(stop & set(p[shortest:]) for p in prompts):  # the engine ends at such a token
            return [self._alone(p, request) for p in prompts]
        start = time.perf_counter()
        batch = self.session.batch(prompts)
        timed, first = time.perf_counter() - start, time.perf_counter()
        runs = [
            self._begin(p, request if request.seed is None else replace(request, seed=request.seed + i))
            for i, p in enumerate(prompts)
        ]
        position = shortest
        while not all(r.why for r in runs):
            logits, choices = batch.logits(), []
            for row, run in enumerate(runs):
                token = 0
                if not batch.reading(row) and not run.why:
                    token = run.sampler(logits[row], (run.prompt + run.tokens) if request.penalises else ())
                    run.take(token, logits[row], self.spec.stop, self.tokens)
                choices.append(token)
            position += 1
            for run in runs:
                if not run.why and (self._cancelled or position >= self.spec.context_length):
                    run.why = "cancelled" if self._cancelled else "length"
            if not all(r.why for r in runs):
                batch.append(choices)
        for run in runs:
            run.rest()
        spent = time.perf_counter() - first
        return [self._ended(r, len(r.prompt), timed, spent) for r in runs]

    def _alone(self, prompt: list[int], request: Request) -> Generation:
        for _ in self._run(prompt, request):
            pass
        assert self.last is not None
        return self.last

    def _begin(self, prompt: list[int], request: Request) -> _Running:
        self._cancelled, self.last = False, None
        pieces = Pieces(self.tokens, request.stop)
        return _Running(request, prompt, pieces, Sampler(request.sampling, request.seed))

    def _ended(self, run: _Running, read: int, prompt_s: float, decode_s: float) -> Generation:
        return Generation(
            "".join(run.text), tuple(run.tokens), run.why, len(run.prompt), read, prompt_s, decode_s, tuple(run.scores)
        )

    def close(self) -> None:
        self.session.close()

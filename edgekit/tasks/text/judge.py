"""From a staged language model to its receipt: divergence from float, tokenizer, size, speed, verdict."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgekit import cache, progress, settings
from edgekit.backends.base import Artifact
from edgekit.data.texts import fingerprint, windows_of
from edgekit.devices.address import simulator_of
from edgekit.devices.base import Plan
from edgekit.model import CheckpointModel, versions
from edgekit.options import whole
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.runtime import EngineOptions, LanguageModel, load, open_text_session
from edgekit.runtime.text.tokens import Tokens
from edgekit.sources.network import network_of
from edgekit.spec import TextSpec, to_json
from edgekit.target import Chip, Target
from edgekit.tasks.base import Request, limit
from edgekit.tasks.judging import NO_SPEED, Findings
from edgekit.tasks.kept import kept_measurements
from edgekit.tasks.speed import Stopwatch
from edgekit.tasks.text import metrics as text
from edgekit.tasks.text import misread
from edgekit.tasks.text.divergence import judge_divergence
from edgekit.tasks.text.metrics import Reference
from edgekit.tasks.text.misread import Misread
from edgekit.tasks.text.simulated import FewTokens, length_for
from edgekit.tasks.text.texts import TextData
from edgekit.tasks.text.tokenizers import not_compared, tokenizer_measurements

_PLAN = Plan(iterations=48, warmup=4, seconds=20.0)
_WINDOWS = 16  # of the evaluation text, where nothing else is asked


class TextJudge:
    """Compares packages of one language model with its float original on one text."""

    def __init__(
        self, model: CheckpointModel, data: TextData, request: Request, command: str, limits: Mapping[str, float]
    ) -> None:
        """`data`: texts to evaluate on; without any, divergence is not measured."""
        self.model, self.spec, self.texts = model, model.spec_as(TextSpec), list(data.texts)
        self.request, self.command, self.limits = request, command, limits
        self.stopwatch = Stopwatch(request.launches, _PLAN, command, " a token", request.device)
        self._name, self._count = data.name, whole(request.values, "eval_windows", _WINDOWS)

    @functools.cached_property
    def tokenizer(self) -> object:
        from edgekit.sources.tokenizer import read_tokenizer

        return read_tokenizer(self.model.folder)

    @functools.cached_property
    def reference(self) -> Reference:
        length = min(text.WINDOW, self.spec.context_length)
        backend = self.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
        windows = windows_of(self.texts, lambda t: backend.encode(t).ids, length, self._count, self._name)
        network = network_of(self.model, "float32")
        describe = f"{self._name} {fingerprint(self.texts)[:12]}, {len(windows)} windows of up to {length} tokens"
        return Reference(network, windows, describe)

    @functools.cached_property
    def few(self) -> FewTokens:
        """The comparison on few tokens, as many as a simulator computes in a bearable time."""
        backend = self.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
        parameters = self.model.source.parameters
        length = length_for(self.spec, parameters)
        windows = windows_of(self.texts, lambda t: backend.encode(t).ids, length, 1, self._name) if self.texts else []
        network = network_of(self.model, "float32")
        name = f"{self._name} {fingerprint(self.texts)[:12]}"
        return FewTokens(network, self.spec, windows, name, parameters)

    @functools.cached_property
    def misread(self) -> Misread | None:
        """Why the float original is none to compare with, if it is none. Kept, since nothing else may need the
        float original here."""

        def make(folder: Path) -> None:
            verdict = self._on_text() if self.texts else self._on_plain_text()
            content = json.dumps(to_json(verdict) if verdict else None)
            (folder / "misread.json").write_text(content, encoding="utf-8")

        folder = cache.step(f"misread-{cache.key(plain=misread.TEXT, **self._compared)}", make)
        data = json.loads((folder / "misread.json").read_text(encoding="utf-8"))
        return Misread(**data) if data else None

    def _on_text(self) -> Misread | None:
        nll, vocabulary = self.reference.nll, self.spec.vocab_size
        guess = misread.counting(self.reference.windows, text.first_scored, vocabulary)
        verdict = misread.on_text(self.model.source.name, self._name, nll, guess, vocabulary)
        if verdict is None:
            return None
        return misread.beside_plain_text(verdict, network_of(self.model, "float32"), self._plain_ids())

    def _on_plain_text(self) -> Misread | None:
        source = self.model.source
        progress.note(f"{source.name}: trying the float original on plain text")
        return misread.on_plain_text(source.name, network_of(self.model, "float32"), self._plain_ids())

    def _plain_ids(self) -> list[int]:
        length = min(misread.LENGTH, self.spec.trained_context)
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(misread.TEXT).ids  # type: ignore[attr-defined]
        return ids[:length]

    @property
    def _compared(self) -> dict[str, object]:
        """Everything that a comparison depends on besides the package, for the key of a cache."""
        return {
            "source": to_json(self.model.source),
            "original": to_json(self.spec),
            "texts": fingerprint(self.texts),
            "name": self._name,
            "windows": self._count,
            "versions": versions(self.model.tools),
        }

    def _once(self, staged: Package, where: str, make: Callable[[], list[Measurement]]) -> list[Measurement]:
        """What `make()` gives, once for the same files and the same original on the same text."""
        manifest = staged.manifest
        return kept_measurements(
            make, where=where, files=manifest.files, spec=manifest.model, engine=manifest.engine, **self._compared
        )

    def check_original(self) -> None:
        """Before minutes of compiling. Raises SourceError for an original that predicts nothing, unless that is
        allowed; then each receipt says so."""
        if self.misread and Reason.MISREAD not in self.request.allowed:
            raise self.misread.error()

    def close(self) -> None:
        for name in {"reference", "few"} & vars(self).keys():
            getattr(self, name).close()

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        findings = Findings(trips=[self.misread.trip()] if self.misread else [])
        if simulator_of(target.devices):
            self._simulated(staged, target, findings)
            return self._receipt(staged, artifact, findings)
        rows = self._once(staged, "here", lambda: self._here(staged))
        findings.measured += rows
        findings.trips += _not_equal(rows)
        findings.not_checked += not_compared(self.tokenizer, rows)
        if self.texts:
            findings.add(judge_divergence(rows, target.name, limit(self.limits, target, "kl")))
        else:
            findings.not_checked.append("divergence from float: no --eval text was given")
        is_float = staged.manifest.precision.is_float
        if self.stopwatch.can_time(target) and not findings.refused(self.request.allowed):
            alone = parent is None or is_float
            findings.add_speed(
                self.stopwatch.alone(staged, target)
                if parent is None or alone
                else self.stopwatch.against_float(staged, parent, target)
            )
        if not is_float and not any(m.name == "ratio to float" for m in findings.measured):
            findings.not_checked.append(NO_SPEED)
        return self._receipt(staged, artifact, findings)

    def _here(self, staged: Package) -> list[Measurement]:
        with load(staged, settings.threads(), kind=LanguageModel) as llm:
            rows = tokenizer_measurements(llm.session, llm.tokens, self.tokenizer, self.texts)
            if self.texts:
                precision = staged.manifest.precision
                scores = self.reference.compare(llm.session, f"verifying {precision}")
                rows += text.measurements(scores, self.reference.describe)
        return rows

    def _simulated(self, staged: Package, target: Target, findings: Findings) -> None:
        """Each chip's own graphs, in numbers and not in time."""
        for chip in target.chips:
            where = f"{simulator_of(target.devices)} {chip.soc}"
            first = chip is target.chips[0]
            rows = self._once(staged, where, functools.partial(self._in_simulator, staged, chip, where, first))
            findings.measured += rows
            findings.add(judge_divergence(rows, target.name, limit(self.limits, target, "kl"), few_tokens=True))
        findings.trips += _not_equal(findings.measured)
        findings.not_checked += [
            *not_compared(self.tokenizer, findings.measured),
            "divergence on more text: a simulator is slow",
            "speed: no device has measured it",
        ]

    def _in_simulator(self, staged: Package, chip: Chip, where: str, with_tokenizer: bool) -> list[Measurement]:
        session = open_text_session(staged, EngineOptions(simulate=True, chip=chip.soc))
        try:
            rows = []
            if with_tokenizer:
                tokens = Tokens(staged.read(staged.manifest.model_as(TextSpec).vocabulary))
                rows = tokenizer_measurements(session, tokens, self.tokenizer, self.texts)
            return rows + self.few.measure(session, f"{where}: {session.simulator}")
        finally:
            session.close()

    def _receipt(self, staged: Package, artifact: Artifact, findings: Findings) -> Receipt:
        spec = staged.manifest.model_as(TextSpec)
        note = f"{spec.kv_cache}, taken for {spec.context_length} tokens when the first prompt is read"
        size, how = float(spec.kv_cache_bytes), Provenance.ESTIMATED
        findings.measured[:0] = [Measurement("memory", "KV cache", size, "bytes", how, note=note)]
        return findings.receipt(self.model, staged, artifact, self.command)


def _not_equal(rows: Sequence[Measurement]) -> list[Trip]:
    """A tokenizer that gives other ids makes every prompt another one."""
    trips = []
    for m in rows:
        if m.name in ("tokenizer equal", "chat template equal") and m.samples and m.value < 1:
            what = m.name.removesuffix(" equal")
            trips.append(
                Trip(
                    Reason.ACCURACY,
                    f"the {what} on the device differs from its reference: "
                    f"{m.value:.0%} of {m.samples} agree ({m.note})",
                )
            )
    return trips

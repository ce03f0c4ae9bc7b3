"""From a staged language model to its receipt: divergence from float, tokenizer, size, speed, verdict."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import cache, progress
from edgekit.backends.base import Artifact
from edgekit.conversion.reading import versions
from edgekit.data.texts import fingerprint, windows_of
from edgekit.devices.base import Plan
from edgekit.model import TextModel
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.profiling import sampler
from edgekit.runtime import EngineOptions, load, open_session
from edgekit.runtime.text.tokens import Tokens
from edgekit.sources.network import network_of
from edgekit.spec import TextSpec, to_json
from edgekit.store.database import Store
from edgekit.target import Chip, Target
from edgekit.tasks.kept import kept_measurements
from edgekit.tasks.speed import Speed, against_float
from edgekit.tasks.text import metrics as text
from edgekit.tasks.text import misread
from edgekit.tasks.text.metrics import Reference
from edgekit.tasks.text.misread import Misread
from edgekit.tasks.text.simulated import FewTokens, length_for
from edgekit.tasks.text.tokenizers import not_compared, tokenizer_measurements

_NO_SPEED = "speed against the float parent"
_PLAN = Plan(iterations=48, warmup=4, seconds=20.0)


class TextVerifier:
    """Compares packages of one language model with its float original on one text."""

    def __init__(
        self,
        model: TextModel,
        texts: Sequence[str],
        name: str,
        windows: int,
        launches: int,
        command: str,
        allowed: Collection[Reason],
    ) -> None:
        """`texts`: to evaluate on, from the file `name`; none: divergence is not measured."""
        self.model, self.texts, self.launches = model, list(texts), launches
        self.command, self.allowed = command, allowed
        self._name, self._count = name, windows

    @functools.cached_property
    def tokenizer(self) -> object:
        from edgekit.sources.tokenizer import read_tokenizer

        return read_tokenizer(self.model.folder)

    @functools.cached_property
    def reference(self) -> Reference:
        length = min(text.WINDOW, self.model.spec.context_length)
        backend = self.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
        windows = windows_of(self.texts, lambda t: backend.encode(t).ids, length, self._count, self._name)
        network = network_of(self.model, "float32")
        describe = f"{self._name} {fingerprint(self.texts)[:12]}, {len(windows)} windows of up to {length} tokens"
        return Reference(network, windows, describe)

    @functools.cached_property
    def few(self) -> FewTokens:
        """What a simulator can be asked."""
        spec = self.model.spec
        backend = self.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
        parameters = self.model.source.parameters
        length = length_for(spec, parameters)
        windows = windows_of(self.texts, lambda t: backend.encode(t).ids, length, 1, self._name) if self.texts else []
        network = network_of(self.model, "float32")
        name = f"{self._name} {fingerprint(self.texts)[:12]}"
        return FewTokens(network, spec, windows, name, parameters)

    @functools.cached_property
    def misread(self) -> Misread | None:
        """Why the float original is none to compare with, if it is none. Kept, since nothing else may need the
        float original here."""

        def make(folder: Path) -> None:
            found = self._on_text() if self.texts else self._on_plain_text()
            content = json.dumps(to_json(found) if found else None)
            (folder / "misread.json").write_text(content, encoding="utf-8")

        folder = cache.step(f"misread-{cache.key(plain=misread.TEXT, **self._compared)}", make)
        found = json.loads((folder / "misread.json").read_text(encoding="utf-8"))
        return Misread(**found) if found else None

    def _on_text(self) -> Misread | None:
        nll, vocabulary = self.reference.nll, self.model.spec.vocab_size
        guess = misread.counting(self.reference.windows, text.first_scored, vocabulary)
        found = misread.on_text(self.model.source.name, self._name, nll, guess, vocabulary)
        if found is None:
            return None
        return misread.beside_plain_text(found, network_of(self.model, "float32"), self._plain_ids())

    def _on_plain_text(self) -> Misread | None:
        source = self.model.source
        progress.note(f"{source.name}: trying the float original on plain text")
        return misread.on_plain_text(source.name, network_of(self.model, "float32"), self._plain_ids())

    def _plain_ids(self) -> list[int]:
        length = min(misread.LENGTH, self.model.spec.trained_context)
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(misread.TEXT).ids  # type: ignore[attr-defined]
        return ids[:length]

    @property
    def _compared(self) -> dict[str, object]:
        """What every comparison here depends on, for the cache's keys."""
        return {
            "source": to_json(self.model.source),
            "original": to_json(self.model.spec),
            "texts": fingerprint(self.texts),
            "name": self._name,
            "windows": self._count,
            "versions": versions(text=True),
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
        if self.misread and Reason.MISREAD not in self.allowed:
            raise self.misread.error()

    def close(self) -> None:
        for name in {"reference", "few"} & vars(self).keys():
            getattr(self, name).close()

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        """`parent`: the float package of the same model and target, when this one is not float."""
        if target.simulator:
            return self._simulated(staged, artifact, target)
        measured: list[Measurement] = []
        trips: list[Trip] = []
        unclear: list[Trip] = []
        not_checked: list[str] = []
        measured += self._once(staged, "here", lambda: self._here(staged))
        trips += _not_equal(measured)
        not_checked += not_compared(self.tokenizer, measured)
        if self.texts:
            far, unclear = _divergence(measured, target)
            trips += far
        else:
            not_checked.append("divergence from float: no --eval text was given")
        refused = any(t.reason not in self.allowed for t in trips)
        if self.launches and "local" in target.devices and not refused:
            speed = self._speed(staged, parent, target)
            measured += speed.measured
            trips += [speed.trip] if speed.trip else []
            unclear += [speed.unclear] if speed.unclear else []
        if not staged.manifest.precision.is_float and not any(m.name == "ratio to float" for m in measured):
            not_checked.append(_NO_SPEED)
        return self._receipt(staged, artifact, measured, trips, not_checked, unclear)

    def _here(self, staged: Package) -> list[Measurement]:
        with load(staged) as llm:
            rows = tokenizer_measurements(llm.session, llm.tokens, self.tokenizer, self.texts)
            if self.texts:
                precision = staged.manifest.precision
                scores = self.reference.compare(llm.session, f"verifying {precision}")
                rows += text.measurements(scores, self.reference.describe)
        return rows

    def _simulated(self, staged: Package, artifact: Artifact, target: Target) -> Receipt:
        """Each chip's own graphs, in numbers and not in time."""
        measured: list[Measurement] = []
        trips: list[Trip] = []
        for chip in target.chips:
            where = f"{target.simulator} {chip.soc}"
            first = chip is target.chips[0]
            rows = self._once(staged, where, functools.partial(self._in_simulator, staged, chip, where, first))
            measured += rows
            kl = next(m for m in rows if m.name == "KL divergence")
            if kl.interval is None or kl.interval[0] > target.tolerance.kl:  # on few tokens, be certain
                trips += _divergence(rows, target)[0]
        trips += _not_equal(measured)
        not_checked = [
            *not_compared(self.tokenizer, measured),
            "divergence on more text: a simulator is slow",
            "speed: no device has measured it",
        ]
        return self._receipt(staged, artifact, measured, trips, not_checked)

    def _in_simulator(self, staged: Package, chip: Chip, where: str, with_tokenizer: bool) -> list[Measurement]:
        session = open_session(staged, EngineOptions(simulate=True, chip=chip.soc))
        try:
            rows = []
            if with_tokenizer:
                tokens = Tokens(staged.read(staged.manifest.model_as(TextSpec).vocabulary))
                rows = tokenizer_measurements(session, tokens, self.tokenizer, self.texts)
            return rows + self.few.measure(session, f"{where}: {session.simulator}")
        finally:
            session.close()

    def _receipt(
        self,
        staged: Package,
        artifact: Artifact,
        measured: Sequence[Measurement],
        trips: Sequence[Trip],
        not_checked: Sequence[str],
        unclear: Sequence[Trip] = (),
    ) -> Receipt:
        every = [*self._size(staged), *artifact.measured, *measured]
        own = [self.misread.trip()] if self.misread else []
        return Receipt(
            tuple(m if m.command else replace(m, command=self.command) for m in every),
            (*own, *trips),
            tuple(unclear),
            tuple(not_checked),
            artifact.search,
            (*self.model.source.notes, *artifact.notes),
        )

    def _size(self, staged: Package) -> list[Measurement]:
        source, spec = self.model.source, staged.manifest.model_as(TextSpec)
        size = sum(entry.bytes for entry in staged.manifest.files.values())
        rows = [
            ("source", "parameters", source.parameters, "1", Provenance.MEASURED, f"all of {source.name}"),
            ("size", "source file", source.bytes, "bytes", Provenance.MEASURED, source.name),
            ("size", "package", size, "bytes", Provenance.MEASURED, "all files"),
            (
                "memory",
                "KV cache",
                spec.kv_cache_bytes,
                "bytes",
                Provenance.ESTIMATED,
                f"{spec.kv_cache}, taken for {spec.context_length} tokens when the first prompt is read",
            ),
        ]
        return [
            Measurement(group, name, float(value), unit, how, note=note)
            for group, name, value, unit, how, note in rows
            if value is not None
        ]

    def _speed(self, staged: Package, parent: Package | None, target: Target) -> Speed:
        if parent is not None:
            limit = target.tolerance.ratio(staged.manifest.precision)
            return against_float(staged, parent, self.launches, _PLAN, limit, self.command, " a token")
        store = Store(Path(":memory:"))
        (mine,) = sampler.profile([staged], "local", self.launches, _PLAN, store, record=False)
        store.close()
        return Speed(tuple(sampler.measurements(mine, self.command)))


def _divergence(rows: Sequence[Measurement], target: Target) -> tuple[list[Trip], list[Trip]]:
    """A trip when it is too far from float, or one of what cannot be told: then up to twice is tolerated."""
    found = {m.name: m for m in rows}
    kl, limit = found["KL divergence"], target.tolerance.kl
    low, high = kl.interval or (kl.value, kl.value)
    if high <= limit:
        return [], []
    measured = (
        f"KL divergence {kl.value:.3f} nats a token ({low:.3f} to {high:.3f}) on {kl.samples} tokens, perplexity "
        f"{found['perplexity'].value:.2f} against {found['float perplexity'].value:.2f}; "
        f"{target.name} tolerates {limit:g}"
    )
    if low > limit or kl.value > 2 * limit:
        return [Trip(Reason.ACCURACY, f"far from float: {measured}")], []
    return [], [
        Trip(Reason.ACCURACY, f"accuracy cannot be told on this text: {measured}; more --eval-windows would tell")
    ]


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

"""The figures of a result, as receipts keep them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from edgekit.package.receipt import Measurement, Provenance
from edgekit.profiling.result import Result


def measurements(result: Result, command: str) -> list[Measurement]:
    """The figures of a result as a receipt keeps them."""
    count = len(result.launches)

    def one(
        group: str,
        name: str,
        value: float,
        unit: str,
        note: str,
        samples: int = count,
        interval: tuple[float, float] | None = None,
    ) -> Measurement:
        return Measurement(
            group, name, value, unit, result.device.provenance, samples, interval, label(result), command, note
        )

    rows = []
    for a in result.agreement:
        note = "of noise, there against the same package here"
        rows.append(one("parity", f"{a.output} SNR, there and here", a.snr_db, "dB", note, 1))
    host = result.launches[0].host
    for unit, layers in host.compute_units.items():
        rows.append(one("placement", f"layers on the {unit}", layers, "1", "by the profile job", 1))
    if result.device.provenance is Provenance.SIMULATED:  # whose time and memory are another machine's
        return rows
    if result.sustained is not None:  # one launch, whose first runs say nothing of others: it is its minutes that count
        return [*rows, *_sustained(result, one), *_energy(result, one)]
    rows += _times(result, one)
    rows += [one("speed", name, value, "tok/s", note) for name, value, note in text_speeds(result)]
    texts = [x.text for x in result.launches if x.text]
    if texts:
        note = f"from a prompt of {texts[0].prompt_tokens} tokens, the cache empty"
        rows.append(one("latency", "first token", median([median(t.prompt_s) for t in texts]) * 1e3, "ms", note))
    for stage, (low, high) in (host.memory or {}).items():
        note = f"{stage.replace('_', ' ')}; at least {low} bytes"
        rows.append(one("memory", f"{stage.replace('_', ' ')} peak", high, "bytes", note))
    if result.peak_memory_bytes and host.memory is None:  # 0 where the system does not say
        rows.append(one("memory", "peak", result.peak_memory_bytes, "bytes", "resident, whole process"))
    filled = ", the cache filled" if result.launches[0].text and result.launches[0].text.deep_s else ""
    if result.steady_memory_bytes:
        rows.append(
            one("memory", "steady", result.steady_memory_bytes, "bytes", f"resident, after the last run{filled}")
        )
    if result.shared_memory_bytes:
        rows.append(one("memory", "steady, own share", result.shared_memory_bytes, "bytes", f"PSS{filled}"))
    if result.images_per_s:
        note = f"{result.streams} streams at once, {result.threads} threads each"
        rows.append(one("speed", f"throughput of {result.streams} streams", result.images_per_s, "1/s", note))
    return rows


def _sustained(result: Result, one: Callable[..., Measurement]) -> list[Measurement]:
    s = result.sustained
    assert s is not None
    minutes = f"steady after {s.steady_s / 60:.1f} of {s.length_s / 60:.1f} minutes"
    note = minutes + (f"; throttled at {s.throttled_s:.0f} s, {s.slowdown:.2f} times slower" if s.throttled_s else "")
    note += f"; {s.hottest_celsius:.0f} °C at most" if s.hottest_celsius is not None else ""
    rows = [one("latency", "sustained", s.steady_median_s * 1e3, "ms", note, len(result.launches[0].curve))]
    if s.throttled_s is not None:
        rows.append(one("latency", "throttled after", s.throttled_s, "s", "by the rule of docs/profiling.md", 1))
    return rows


def _energy(result: Result, one: Callable[..., Measurement]) -> list[Measurement]:
    """Joules a run over a sustained launch, from a meter that counts them."""
    curve, meter = result.launches[0].curve, result.device.facts.get("energy_meter", "")
    counts = [p.sensors["energy_j"] for p in curve if "energy_j" in p.sensors]
    runs = sum(p.runs for p in curve[1:])  # each count is of the end of a second
    if (
        not meter or len(counts) != len(curve) or not runs or counts[-1] <= counts[0]
    ):  # the counter starts anew at times
        return []
    note = f"{meter}: the whole processor's, other work included"
    return [one("energy", "a run", (counts[-1] - counts[0]) / runs, "J", note, runs)]


def text_speeds(result: Result) -> list[tuple[str, float, str]]:
    """Tokens a second of a language model, medians over launches: name, value, what it was taken on."""
    texts = [x.text for x in result.launches if x.text]
    if not texts:
        return []
    length, depth = texts[0].prompt_tokens, texts[0].depth
    speeds = [
        ("prompt", length / median(min(t.prompt_s) for t in texts), f"{length} tokens, the best of 3 a launch"),
        ("decode", 1 / result.run.median, "with an empty context"),
    ]
    for held in [d.tokens for d in texts[0].depths]:
        taken = median([median(d.samples_s) for t in texts for d in t.depths if d.tokens == held])
        speeds.append((f"decode after {held}", 1 / taken, f"with {held} tokens in the cache"))
    deep = [median(t.deep_s) for t in texts if t.deep_s]
    if deep:
        speeds.append(("decode, full context", 1 / median(deep), f"after {depth} tokens"))
    return speeds


def _times(result: Result, one: Callable[..., Measurement]) -> list[Measurement]:
    rows, count = [], len(result.launches)
    both = (("run", result.run), ("total", result.total))
    for name, s in both if result.whole else both[:1]:
        low, high = s.interval
        on = f"{result.images} images" if result.images else "image of 1280x720, nothing to suppress"
        note = f"{count} launches, {result.engine}" + (f"; {on}" if name == "total" else "")
        interval = (low * 1e3, high * 1e3)
        rows += [
            one("latency", f"{name} median", s.median * 1e3, "ms", note, s.samples, interval),
            one("latency", f"{name} p90", s.p90 * 1e3, "ms", note, s.samples),
            one("latency", f"{name} p99", s.p99 * 1e3, "ms", note, s.samples),
        ]
    cold = "import included" + (", files evicted first" if result.launches[0].cold_is_cold else "")
    for name, seconds, note in (
        ("cold load", result.cold_load_s, cold if result.whole else "first load"),
        ("warm load", result.warm_load_s, "again in the same process"),
        ("first run", result.first_run_s, "after loading"),
    ):
        if seconds:
            rows.append(one("latency", name, seconds * 1e3, "ms", note))
    return rows


def label(result: Result) -> str:
    """What the figures of a result belong to: device, chip and threads. Packages of different
    engines are compared there."""
    threads = f", {result.threads} threads" if result.threads else ""
    return f"{result.device.name}: {result.device.chip}{threads}"

"""What is known of an artefact is not lost by converting it again."""

from __future__ import annotations

from edgekit.conversion.keeping import merged
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip


def row(group: str, name: str, value: float = 1.0, samples: int = 1, device: str = "") -> Measurement:
    return Measurement(group, name, value, "1", Provenance.MEASURED, samples, device=device)


JUDGED = ("mAP50-95 drop",)
ACCURATE = (row("accuracy", "mAP50-95", 0.5, 128), row("accuracy", "mAP50-95 drop", 0.0, 128))
NO_EVAL = "accuracy: no --eval with boxes was given; parity stands in for it"


def test_a_run_without_data_keeps_what_the_run_with_data_found() -> None:
    old = Receipt(
        (row("size", "package"), row("parity", "scores SNR", 40.0, 128), *ACCURATE),
        cannot_tell=(Trip(Reason.ACCURACY, "old"),),
        not_checked=("speed: unknown",),
    )
    new = Receipt(
        (
            row("size", "package", 2.0),
            row("parity", "scores SNR", 30.0, 2),
            row("latency", "run", 0.1, 5),
            row("latency", "ratio to float", 0.5, 5),
        ),
        not_checked=(NO_EVAL,),
    )
    found = merged(old, new, JUDGED)
    values = {m.name: m.value for m in found.measurements}
    assert values["package"] == 2.0 and values["mAP50-95"] == 0.5 and values["scores SNR"] == 40.0
    assert values["ratio to float"] == 0.5
    assert found.cannot_tell == old.cannot_tell and found.not_checked == ()


def test_what_a_run_measured_is_what_it_says() -> None:
    """Also on other data, or less of it: an old figure is not shown for a new one."""
    for samples in (8, 128):
        again = tuple(row("accuracy", m.name, 0.7, samples) for m in ACCURATE)
        found = merged(Receipt(ACCURATE), Receipt(again), JUDGED)
        assert {(m.value, m.samples) for m in found.measurements} == {(0.7, samples)}


def test_what_devices_measured_stays() -> None:
    phone = row("latency", "run", 0.02, 5, "phone")
    found = merged(Receipt((phone,)), Receipt((row("latency", "run", 0.1, 5, "here"),)), JUDGED)
    assert phone in found.measurements and len(found.measurements) == 2

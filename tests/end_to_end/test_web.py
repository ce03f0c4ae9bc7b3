"""The device `web`: the page's server as hostile clients see it, and a real headless Chromium."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.base import Plan
from edgekit.devices.web import setup
from edgekit.devices.web.browser import name_of
from edgekit.devices.web.certificate import make_certificate
from edgekit.devices.web.device import WebDevice
from edgekit.devices.web.exchange import Exchange
from edgekit.errors import DeviceError, IntegrityError, MissingError, RemoteError, UsageError
from edgekit.package import Package
from edgekit.profiling.agreement import agreement
from tests.cli.commands import Edgekit

CHROMIUM = shutil.which("chromium")
HAVE = setup.folder()  # of the user, before the tests' own home


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Exchange]]:
    from edgekit.devices.web.server import PageServer

    exchange = Exchange()
    server = PageServer(exchange, tmp_path, "127.0.0.1", 0, False)
    server.start()
    yield server.url, exchange
    server.stop()


def status(url: str, body: bytes | None = None, browser: str = "") -> int:
    request = urllib.request.Request(url, body, {"x-browser": browser})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ConnectionError):
            raise
        return 400  # closed before it had sent all


def test_nothing_is_told_without_the_token_and_one_browser_is_measured(served: tuple[str, Exchange]) -> None:
    url, _ = served
    root = url.rstrip("/").rpartition("/")[0]
    assert status(f"{root}/wrong/") == 403 and status(f"{root}/w%C3%A9/page.js") == 403
    with urllib.request.urlopen(url, timeout=10) as page:
        assert page.headers["cross-origin-embedder-policy"] == "require-corp"
        assert page.headers["cache-control"] == "no-store"
    assert status(f"{url}job", browser="a") == 409  # nobody has said hello
    assert status(f"{url}hello", b"[]", "a") == 400
    assert status(f"{url}hello", b'{"a": NaN}', "a") == 400
    assert status(f"{url}hello", b'"' + b"a" * 2**15, "a") == 400
    assert status(f"{url}hello", b"{}", "a") == 204
    assert status(f"{url}hello", b"{}", "b") == 409
    assert status(f"{url}package/manifest.json", browser="b") == 409
    assert status(f"{url}package/../../etc/passwd", browser="a") == 404
    assert status(f"{url}ort/package.json", browser="a") == 404
    assert status(f"{url}result/7", b"{}", "a") == 410  # no such job


def test_a_certificate_is_for_its_address_and_its_key_for_its_owner(tmp_path: Path) -> None:
    from cryptography import x509

    made = make_certificate("192.0.2.7", tmp_path)
    read = x509.load_pem_x509_certificate(made.file.read_bytes())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert made.file.stat().st_mode & 0o077 == 0 and len(made.fingerprint) == 95


def test_what_cannot_be_measured_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match="provider"):
        WebDevice(provider="cuda")
    monkeypatch.setattr(setup, "folder", lambda: tmp_path / "none")
    with pytest.raises(MissingError) as missing:
        WebDevice().run(packages["fp32"], Plan())
    assert missing.value.next == "edgekit devices setup web"
    monkeypatch.setattr(setup, "files", lambda: tmp_path)
    monkeypatch.setattr("edgekit.devices.web.device.OPEN_S", 0.1)
    with pytest.raises(DeviceError, match="Nobody opened"):
        WebDevice().info()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DeviceError, match="No page can be served"):
        WebDevice(port=str(taken.getsockname()[1])).info()


def test_a_page_that_goes_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgekit.devices.web.exchange import Job

    monkeypatch.setattr("edgekit.devices.web.exchange.GONE_S", 0.1)
    exchange = Exchange()
    exchange.claim("a", {})
    with pytest.raises(DeviceError, match="The page was closed"):
        exchange.ask(Job("launch", {}, tmp_path, frozenset(), []))


def test_names_of_browsers() -> None:
    phone = (
        "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
    )
    assert name_of(phone) == ("Chrome 140", "Android 15")


@pytest.mark.skipif(not CHROMIUM, reason="needs the Debian package chromium")
@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_chromium_measures_and_agrees(
    precision: str, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all((HAVE / name).is_file() for name in setup.FILES):
        pytest.skip("needs onnxruntime-web: edgekit devices setup web")
    monkeypatch.setattr(setup, "files", lambda: HAVE)
    device = WebDevice()
    _, url = device._opened()
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", url]
    browser = subprocess.Popen([str(CHROMIUM), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        info = device.info()
        assert info.name.startswith("web:Chrome") and info.facts["cross_origin_isolated"] == "yes"
        assert info.provenance == "measured (browser)"
        launches = [device.run(packages[precision], Plan(iterations=5, warmup=1)) for _ in range(2)]
        assert [len(launch.samples_s["run"]) for launch in launches] == [5, 5]
        assert launches[0].others["timer_resolution_s"] > 0
        same = agreement(Package(packages[precision]), device)
        # Integers are rounded elsewhere in another build: what `profile` itself asks for. Real numbers agree closely.
        assert same and all(a.good if precision == "w8a8" else a.snr_db > 60 for a in same)
        device.finished()
    finally:
        browser.kill()
        browser.wait()
        device._close()


def test_a_language_model_is_refused_before_a_page_is_opened(
    text_packages: dict[str, Path], tflite_packages: dict[str, Path], edgekit: Edgekit
) -> None:
    ran = edgekit("profile", text_packages["fp32"], "-d", "web")
    assert ran.code == 2 and "language model" in ran.err
    ran = edgekit("profile", tflite_packages["fp32"], "-d", "web", "--host", "127.0.0.1")
    assert ran.code == 2 and "litert" in ran.err
    ran = edgekit("profile", text_packages["fp32"], "-d", "local", "--host", "127.0.0.1")
    assert ran.code == 2 and "no option host" in ran.err


def test_an_engine_that_is_not_the_one_that_was_tried_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.tgz").write_bytes(b"somebody else's")
    monkeypatch.setattr(setup, "URL", (tmp_path / "other.tgz").as_uri())
    monkeypatch.setattr(setup, "folder", lambda: tmp_path / "data" / setup.VERSION)
    with pytest.raises(IntegrityError, match="not what it was"):
        setup.set_up()
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.setattr(setup, "URL", (tmp_path / "nothing.tgz").as_uri())
    with pytest.raises(RemoteError, match="cannot be fetched"):
        setup.set_up()


def test_a_page_posts_only_what_was_asked_for(served: tuple[str, Exchange], tmp_path: Path) -> None:
    from edgekit.devices.web.exchange import Job
    from edgekit.spec import TensorSpec

    url, exchange = served
    assert status(f"{url}hello", b"{}", "a") == 204
    tensor = TensorSpec(name="boxes", shape=(1, 2, 4), dtype="float32")
    job = Job("outputs", {}, tmp_path, frozenset(), [{}], (tensor,))
    answers: list[dict[str, object]] = []
    asking = threading.Thread(target=lambda: answers.append(exchange.ask(job)))
    asking.start()
    while exchange.job() is None:
        time.sleep(0.01)
    number = job.number
    assert status(f"{url}output/0/0", b"\0" * 31, "a") == 400  # 32 bytes, the manifest says
    assert status(f"{url}output/0/0", b"\0" * 33, "a") == 400
    assert status(f"{url}output/0/1", b"", "a") == 404 and status(f"{url}output/1/0", b"", "a") == 404
    assert status(f"{url}output/0/0", b"\0" * 32, "b") == 409
    assert status(f"{url}result/{number}", b"[" * 10**5, "a") == 400
    assert status(f"{url}result/{number}", b"{" + b" " * 2**25 + b"}", "a") in (400, 413)
    assert job.outputs == {}
    assert status(f"{url}output/0/0", b"\0" * 32, "a") == 204
    assert status(f"{url}result/{number}", b"{}", "a") == 204
    asking.join(20)
    assert answers == [{}] and list(job.outputs) == [(0, 0)]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"samples_s": {"run": []}},
        {"samples_s": {"run": [-1.0]}},
        {"samples_s": {"run": ["1"]}},
        {"samples_s": {"run": [0.1]}, "cold_load_s": 1e9},
    ],
)
def test_a_page_that_posts_nonsense_is_one_error(
    answer: dict[str, object], packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = WebDevice()
    whole = {"samples_s": {"run": [0.1]}, "cold_load_s": 1, "warm_load_s": 1, "first_run_s": 1, "threads": 1}
    monkeypatch.setattr(device, "_ask", lambda job: {**whole, **answer} if answer else {})
    with pytest.raises(DeviceError, match="cannot be read"):
        device.run(packages["fp32"], Plan())

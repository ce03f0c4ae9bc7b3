"""Device `adb:SERIAL`: an Android phone on a cable, or by `adb connect`. Each launch is a run of a benchmark program there.

A phone's shell has no Python, and Termux keeps its own to itself: adb may enter an app only where it was built for
debugging. So packages of LiteRT and ONNX Runtime are timed by those engines' own programs, which the user names.
"""

from __future__ import annotations

import functools
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.devices.adb_server import Attached, attached, chosen, client
from edgekit.devices.adb_transport import AdbTransport
from edgekit.devices.android import Phone, ask
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.elf import check_program
from edgekit.devices.native import Call, Tool, failure, tool_for
from edgekit.devices.record import HostNotes, Launch
from edgekit.devices.stock import Stock
from edgekit.errors import DeviceError, UsageError
from edgekit.package import Package

if TYPE_CHECKING:
    from adbutils import AdbClient

    from edgekit.runtime.engine import Array

FOLDER = "/data/local/tmp/edgekit"  # where a shell may write and start programs; all that edgekit leaves lies there
_ANSWER = 15.0  # seconds for what a phone says of itself
_GLANCE = 1.5  # the same for a list
_STARTING = 120.0  # seconds a launch may take beside warming up and measuring
_USUAL_THREADS = 4
_MOST_RESULTS = 2**26  # bytes


class AdbDevice:
    name = "adb"
    options: ClassVar[frozenset[str]] = frozenset({"binary", "cores"})
    timed = False  # not without a program that the user names
    simulates = False
    elsewhere = False  # its programs give no outputs

    def __init__(self, address: str = "", binary: str = "", cores: str = "") -> None:
        """`address`: a serial, or a phone's name in records; "" for the only phone. `binary`: the benchmark program, a
        file here or a path on the phone. `cores`: where it runs, as `Phone.mask` reads it."""
        self._address, self._binary, self._cores = address, binary, cores
        self._paces: dict[tuple[str, int], float] = {}  # seconds of a run, by model and threads

    @functools.cached_property
    def _attached(self) -> Attached:
        return chosen(attached(self._client), self._address)

    @functools.cached_property
    def _client(self) -> AdbClient:
        return client(start=True)

    @functools.cached_property
    def transport(self) -> AdbTransport:
        """Raises MissingError, DeviceError and UsageError, as `client` and `chosen`."""
        phone = self._attached
        return AdbTransport(self._client.device(phone.serial), f"the phone {phone.address}")

    @functools.cached_property
    def _phone(self) -> Phone:
        """As it was when it was first asked."""
        return ask(self.transport, _ANSWER)

    def info(self) -> DeviceInfo:
        return self._phone.info(self._attached.address)

    def listing(self) -> list[DeviceInfo]:
        return self.nearby()

    def nearby(self) -> list[DeviceInfo]:
        """The phones that adb's server knows, or the one that was named, asked at once and shortly; starts no server.
        Of one that cannot be used, why. Raises MissingError; DeviceError without a server or a phone."""
        adb = client(start=False)
        phones = attached(adb)
        if self._address or not phones:
            phones = [chosen(phones, self._address)]
        with ThreadPoolExecutor(len(phones)) as pool:
            return list(pool.map(lambda phone: _glance(adb, phone), phones))

    def run(self, package: Path, plan: Plan) -> Launch:
        """Raises UsageError for a package that no program measures, or without a program; DeviceError."""
        opened = Package(package)
        engine = opened.manifest.engine
        tool = tool_for(engine.name, opened.manifest.name)
        if not self._binary:
            raise UsageError(
                f"{tool.name} measures {opened.manifest.name} on a phone, and none was named",
                "edgekit brings none: it is built, or downloaded, for Android",
                "name it: binary = PATH in devices.toml (docs/profiling.md)",
            )
        mask = self._phone.mask(self._cores) if self._cores else 0
        cores = mask.bit_count() or len(self._phone.cores) or _USUAL_THREADS
        stock = Stock(self.transport, FOLDER)
        beside = {n for n in opened.manifest.files if n.startswith(f"{engine.artifact}.")}  # weights of large models
        files = {name: opened.folder / name for name in sorted({engine.artifact, *beside})}
        binary = self._program(stock, tool)
        call = Call(
            binary,
            f"{stock.send(files)}/{engine.artifact}",
            f"{FOLDER}/results-{secrets.token_hex(4)}.csv" if tool.writes else "",
            plan,
            plan.threads or min(_USUAL_THREADS, cores),
        )
        if not tool.stops:
            call = replace(call, plan=self._fitting(tool, call, mask))
        before = ask(self.transport, _ANSWER)
        launch = self._measured(tool, call, mask)
        after = ask(self.transport, _ANSWER)
        warning = "; ".join(dict.fromkeys([*before.warnings(), *after.warnings()]))
        notes = HostNotes(warning=warning, before=before.readings(), after=after.readings(), emulated=before.emulated)
        return replace(launch, host=notes)

    def _fitting(self, tool: Tool, call: Call, mask: int) -> Plan:
        """The plan with as many iterations as its seconds allow, by a run beforehand; three at least."""
        key, plan = (call.model, call.threads), call.plan
        if key not in self._paces:
            quick = replace(call, plan=replace(plan, iterations=1, warmup=1))
            self._paces[key] = self._measured(tool, quick, mask).samples_s["run"][0]
        return replace(plan, iterations=min(plan.iterations, max(3, int(plan.seconds / self._paces[key]))))

    def _program(self, stock: Stock, tool: Tool) -> str:
        """The path of the benchmark program on the phone."""
        local = Path(self._binary).expanduser()
        if not local.is_file():
            if self._binary.startswith("/") and not local.exists():
                return self._binary  # of the phone
            raise UsageError(f"There is no program {self._binary}", "", "name a file here, or a path on the phone")
        check_program(local, self._phone.abis)
        return f"{stock.send({tool.name: local})}/{tool.name}"

    def _measured(self, tool: Tool, call: Call, mask: int) -> Launch:
        transport, plan = self.transport, call.plan
        words = [*(["taskset", f"{mask:x}"] if mask else []), *tool.words(call)]
        libraries = {"LD_LIBRARY_PATH": call.binary.rpartition("/")[0]}  # those that lie beside it
        try:
            done = transport.run(words, libraries, 2 * plan.seconds + _STARTING)
            printed = f"{done.output}\n{done.errors}"  # which of the two it logs to depends on its version
            if done.code:
                raise failure(tool, transport.place, done.code, printed)
            try:
                return tool.launch(printed, self._written(call.results), call)
            except ValueError as error:
                raise failure(tool, transport.place, done.code, f"{printed}\nerror: {error}") from error
        finally:
            if call.results:
                self._remove(call.results)

    def _written(self, results: str) -> str:
        if not results:
            return ""
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            local = Path(folder) / "results.csv"
            self.transport.get(results, local)
            with local.open(encoding="utf-8", errors="replace") as file:
                return file.read(_MOST_RESULTS)

    def _remove(self, path: str) -> None:
        try:
            self.transport.run(["rm", "-f", path], {}, _ANSWER)
        except DeviceError:
            pass  # a phone that is gone; `clean` takes it

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        raise UsageError(
            "A benchmark program gives no outputs, so edgekit cannot compare them on a phone over adb",
            f"{package.name} was to be compared there",
            "run Termux's sshd on the phone, and compare with -d ssh:HOST:8022",
        )

    def clean(self) -> str:
        """Removes all that edgekit left there; says what. Raises DeviceError."""
        return Stock(self.transport, FOLDER).clean()

    def finished(self) -> None:
        pass


def _glance(adb: AdbClient, phone: Attached) -> DeviceInfo:
    """What a list says of a phone; of one that cannot be used, why."""
    if not phone.trouble:
        try:
            return ask(AdbTransport(adb.device(phone.serial), phone.address), _GLANCE).info(phone.address)
        except DeviceError as error:
            return _unusable(phone, f"{error.what}; {error.next}" if error.next else error.what)
    return _unusable(phone, f"{phone.trouble}: {phone.next}")


def _unusable(phone: Attached, why: str) -> DeviceInfo:
    return DeviceInfo(phone.address, "not known", why, 0, 0, {"unreachable": why})

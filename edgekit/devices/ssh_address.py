"""What stands after `ssh:` in a device's address: `[USER@]HOST[:PORT]`, an IPv6 address in brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.errors import UsageError

_FORM = re.compile(
    r"(?:(?P<user>[^@:\s/]{1,64})@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@:\[\]\s/]{1,255})(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True)
class SshAddress:
    """`user` "" and `port` 0: what the user's own configuration says, else OpenSSH's defaults."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._user}{host}" + (f":{self.port}" if self.port else "")

    @property
    def words(self) -> str:
        """What OpenSSH's `ssh` takes for it."""
        return (f"-p {self.port} " if self.port else "") + f"{self._user}{self.host}"

    @property
    def _user(self) -> str:
        return f"{self.user}@" if self.user else ""


def read_address(text: str) -> SshAddress:
    """Raises UsageError for what is no address. A host that begins with a dash is none: it could be read as an option."""
    match = _FORM.fullmatch(text)
    if match is None or match["host"].startswith("-") or (match["user"] or "").startswith("-"):
        raise UsageError(f"ssh:{text:.80} is no address", "", "write ssh:[USER@]HOST[:PORT], as ssh:pi@192.168.1.7")
    port = int(match["port"] or 0)
    if match["port"] and not 0 < port < 65536:
        raise UsageError(f"ssh:{text:.80} names a port that there is not", "", "ports are 1 to 65535")
    return SshAddress(match["host"].strip("[]"), match["user"] or "", port)

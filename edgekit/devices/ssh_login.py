"""Opening an SSH connection as the user's own `ssh` would, and why it cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh

from edgekit.devices.ssh_address import SshAddress
from edgekit.errors import DeviceError, first_line

_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class _Client(asyncssh.SSHClient):
    """Sees the key of a host that no known_hosts file names, and trusts it no more for that."""

    unknown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.unknown = key
        self.where = (host, addr, port)
        return False


async def connect(
    address: SshAddress, timeout_s: float, alive_s: float, alive_count: int
) -> asyncssh.SSHClientConnection:
    """Asks for no password and no passphrase: keys, agent and configuration are the user's own. Raises DeviceError
    saying what to do."""
    client = _Client()
    given: dict[str, Any] = {"port": address.port or (), "username": address.user or ()}
    try:
        return await asyncssh.connect(
            address.host,
            **given,
            client_factory=lambda: client,
            connect_timeout=timeout_s,
            login_timeout=timeout_s,
            keepalive_interval=alive_s,
            keepalive_count_max=alive_count,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _untrusted(address, client, error) from error
    except asyncssh.PermissionDenied as error:
        raise DeviceError(
            f"{address} lets nobody in with the keys that are here",
            first_line(error),
            f"ssh-copy-id {address.words}, or name a key in ~/.ssh/config; a key with a passphrase goes into ssh-agent",
        ) from error
    except TimeoutError as error:
        raise DeviceError(
            f"{address} does not answer within {timeout_s:g} seconds", "", "see whether it is on, and its address"
        ) from error
    except (asyncssh.Error, OSError, ValueError) as error:
        raise DeviceError(
            f"{address} cannot be reached", first_line(error), f"try it by hand: ssh {address.words}"
        ) from error


def _untrusted(address: SshAddress, client: _Client, error: asyncssh.HostKeyNotVerifiable) -> DeviceError:
    key = client.unknown
    if key is None:  # revoked, or a certificate that does not fit
        return DeviceError(f"The key of {address} is not trusted", first_line(error), f"ssh {address.words} says more")
    shown = f"{key.algorithm.decode('ascii', 'replace')} {key.get_fingerprint()}"
    if _knows_another(*client.where):
        return DeviceError(
            f"{address} shows another key than known_hosts has for it",
            f"it shows {shown}: it was set up anew, or somebody is in between",
            f"if you set it up anew: ssh-keygen -R {_entry(address)}, then connect once with ssh {address.words}",
        )
    return DeviceError(
        f"The key of {address} is not known here",
        f"it shows {shown}",
        f"compare it with what the device says (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once "
        f"with ssh {address.words}",
    )


def _entry(address: SshAddress) -> str:
    """As known_hosts has it."""
    return f"'[{address.host}]:{address.port}'" if address.port not in (0, 22) else address.host


def _knows_another(host: str, addr: str, port: int) -> bool:
    for name in _KNOWN_HOSTS:
        path = Path(name).expanduser()
        try:
            if path.is_file() and any(asyncssh.match_known_hosts(str(path), host, addr, port)[:2]):
                return True
        except (OSError, ValueError):
            continue
    return False

# SPDX-License-Identifier: Apache-2.0
"""How to reach the gateway: addresses, TLS, credentials, and the channel options that photos need."""

import ipaddress
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
DEFAULT_ADDRESS = "127.0.0.1:50051"

Channel = TypeVar("Channel")
Token: TypeAlias = str | Callable[[], str]
ChannelOptions: TypeAlias = list[tuple[str, int | str]]
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS, PEM.

    Without `ca_file` the roots that come with grpc are trusted. `certificate_file` and `key_file`
    go together and make it mutual. `server_name` is the name that the server's certificate must
    carry, where that is not the name in the address.
    """

    ca_file: str | os.PathLike[str] | None = None
    certificate_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs its key: give both certificate_file and key_file")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            OSError: One of them cannot be read.
        """

        def content(path: str | os.PathLike[str] | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=content(self.ca_file),
            private_key=content(self.key_file),
            certificate_chain=content(self.certificate_file),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """Where and how to connect; see `Client` for what the parts mean."""

    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    tls: Tls | None = None
    token: Token | None = None
    token_over_plaintext: bool = False
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("no address given: name at least one server, such as 127.0.0.1:50051")
        for address in self.addresses:
            _check(address)
        if self.token is None or self.tls is not None or self.token_over_plaintext:
            return
        for address in self.addresses:
            if not _is_local(address):
                raise ValueError(
                    f"the token would travel readable to {address}: give tls, or token_over_plaintext=True "
                    "where the network is trusted"
                )

    def __repr__(self) -> str:
        """Tell everything but the token."""
        return f"<Connection {', '.join(self.addresses)}{' over TLS' if self.tls else ''}>"

    def credential_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that says who calls."""
        if self.token is None:
            return ()
        token = self.token() if callable(self.token) else self.token
        return (("authorization", f"Bearer {token}"),)


def open_channel(
    insecure: Callable[[str, ChannelOptions], Channel],
    secure: Callable[[str, grpc.ChannelCredentials, ChannelOptions], Channel],
    connection: Connection,
    *more_options: tuple[str, int | str],
) -> Channel:
    """Open a channel by grpc's functions, or grpc.aio's. Raises what `channel_target` and `Tls.credentials` do."""
    target, options = channel_target(connection.addresses), [*channel_options(connection), *more_options]
    tls = connection.tls
    return insecure(target, options) if tls is None else secure(target, tls.credentials(), options)


def channel_target(addresses: Sequence[str], resolve: Resolver | None = None) -> str:
    """Write addresses as one gRPC target.

    One address stays as it is, so that gRPC follows a name as it changes. Several become one
    list of numeric addresses (names among them are resolved once, here), or of Unix sockets.

    Raises:
        ValueError: Unix sockets and TCP addresses are mixed.
        OSError: A name of several cannot be resolved.
    """
    if len(addresses) == 1:
        address = addresses[0]
        return address if address.startswith(("unix:", "dns:")) else f"dns:///{address}"
    unix = [address.removeprefix("unix:") for address in addresses if address.startswith("unix:")]
    if unix and len(unix) < len(addresses):
        raise ValueError("Unix sockets and TCP addresses cannot be mixed in one client")
    if unix:
        return "unix:" + ",".join(unix)
    found = [(ip, port) for host, port in map(host_and_port, addresses) for ip in (resolve or _resolve)(host, port)]
    if all(ipaddress.ip_address(ip).version == 4 for ip, _ in found):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in found)
    return "ipv6:" + ",".join(f"[{'::ffff:' + ip if '.' in ip else ip}]:{port}" for ip, port in found)


def channel_options(connection: Connection) -> ChannelOptions:
    """Return the options that every channel of this client has.

    Calls go round robin over everything the target resolves to. With several addresses named, an
    address whose own health service says NOT_SERVING is left out meanwhile; with a single one it
    is not asked, so that a refusal comes with the server's own reason.
    """
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if len(connection.addresses) > 1:
        config["healthCheckConfig"] = {"serviceName": ""}
    options: ChannelOptions = [
        ("grpc.max_send_message_length", connection.max_message_bytes),
        ("grpc.max_receive_message_length", connection.max_message_bytes),
        # A peer that vanished is noticed within 40 s while calls are open.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.service_config", json.dumps(config)),
    ]
    if connection.tls is not None and (name := connection.tls.server_name or _shared_name(connection.addresses)):
        options += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
    return options


def _check(address: str) -> None:
    if address.startswith("unix:"):
        if not address.removeprefix("unix:"):
            raise ValueError("a Unix socket needs its path: unix:/path/to/socket")
        return
    host, port = host_and_port(address)
    if not host or not 0 < port < 65536:
        raise ValueError(f"{address!r} is no address: write HOST:PORT or unix:PATH")


def host_and_port(address: str) -> tuple[str, int]:
    """Split HOST:PORT, the host without brackets.

    Raises:
        ValueError: It is none.
    """
    host, separator, port = address.removeprefix("dns:///").rpartition(":")
    if not separator or not port.isascii() or not port.isdigit():
        raise ValueError(f"{address!r} is no address: write HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    numeric = dict.fromkeys(str(entry[4][0]) for entry in found)
    # A host reached by both families would otherwise be taken for two.
    return [ip for ip in numeric if "." in ip] or list(numeric)


def _shared_name(addresses: Sequence[str]) -> str:
    """Return the first host name where several addresses are joined into one numeric target."""
    if len(addresses) == 1 or addresses[0].startswith("unix:"):
        return ""
    return host_and_port(addresses[0])[0]


def _is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host, _ = host_and_port(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

# SPDX-License-Identifier: Apache-2.0
"""Asking a running gateway whether it serves, as a probe does: one call of grpc.health.v1, one connection."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from grpc_h2.client.caller import UnaryCaller
from grpc_h2.client.status import CallError
from grpc_health.v1 import health_pb2

from matting_gateway.reloading.watched_files import read_key_pair, read_roots

_METHOD = "/grpc.health.v1.Health/Check"
_MAX_MESSAGE_BYTES = 4096
# Where a gateway that listens on every address of its machine is found from there.
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - it is replaced, not listened on


@dataclass(frozen=True, slots=True)
class Probe:
    """What to ask, where, and what to trust.

    Attributes:
        address: HOST:PORT or unix:PATH.
        service: Of the health protocol; empty: the gateway itself.
        timeout_s: How long all of it may take.
        ca_file: Speak TLS, by these authorities (PEM).
        certificate_file: Our certificate chain, where the gateway asks for one (PEM), and ...
        key_file: ... its private key.
        server_name: What the gateway's certificate must name; empty: the address's host.
    """

    address: str
    service: str = ""
    timeout_s: float = 5.0
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it serves, and one line on it."""

    serving: bool
    text: str


def check(probe: Probe) -> Verdict:
    """Ask once.

    Raises:
        ValueError: The address is none, or the files cannot be used together.
        OSError: A file cannot be read.
    """
    host, colon, port = probe.address.rpartition(":")
    if not probe.address.startswith("unix:") and (not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16):
        raise ValueError(f"{probe.address!r} is no address: expected HOST:PORT, [IPV6]:PORT or unix:PATH")
    address = probe.address if probe.address.startswith("unix:") else f"{_ANY_HOST.get(host, host)}:{port}"
    name = probe.server_name or ("localhost" if address.startswith("unix:") else host.strip("[]"))
    return asyncio.run(_ask(probe, address, _context(probe), name))


async def _ask(probe: Probe, address: str, tls: ssl.SSLContext | None, server_name: str) -> Verdict:
    caller = UnaryCaller(
        address,
        _METHOD,
        max_message_bytes=_MAX_MESSAGE_BYTES,
        connect_timeout_s=probe.timeout_s,
        tls=tls,
        server_name=server_name,
    )
    request = health_pb2.HealthCheckRequest(service=probe.service).SerializeToString()
    try:
        answer = await caller.call(request, probe.timeout_s)
    except CallError as exc:
        text = f"no answer within {probe.timeout_s:g} s" if exc.code().name == "DEADLINE_EXCEEDED" else exc.details()
        return Verdict(serving=False, text=f"{address}: {exc.code().name}: {text}")
    finally:
        await caller.close()
    status = health_pb2.HealthCheckResponse.FromString(bytes(answer)).status
    known = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
    return Verdict(serving=status == health_pb2.HealthCheckResponse.SERVING, text=f"{address}: {known}")


def _context(probe: Probe) -> ssl.SSLContext | None:
    """Return what to connect with; None: in the clear."""
    if probe.ca_file is None:
        if probe.certificate_file is not None or probe.key_file is not None or probe.server_name:
            raise ValueError("--tls-certificate, --tls-key and --server-name need --tls-ca")
        return None
    if (probe.certificate_file is None) != (probe.key_file is None):
        raise ValueError("--tls-certificate and --tls-key belong together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=read_roots(probe.ca_file).decode("ascii"))
    if probe.certificate_file is not None and probe.key_file is not None:
        read_key_pair(probe.certificate_file, probe.key_file)  # says what is wrong with them better than OpenSSL
        context.load_cert_chain(probe.certificate_file, probe.key_file)
    return context

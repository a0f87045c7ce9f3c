# SPDX-License-Identifier: Apache-2.0
"""Certificates and tokens renewed while callers call."""

import hashlib
import threading
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from privacy_proof.service import Output, started_service
from testkit.certificates import Authority, replace
from testkit.tenants import bearer, photo, table

pytestmark = pytest.mark.triton


def test_certificates_and_tokens_are_rotated_under_load_without_a_failed_call(
    triton_server: LocalTriton, tmp_path: Path
) -> None:
    """Callers with tokens and callers with certificates go on while both are renewed three times."""
    servers, clients = Authority("servers"), Authority("clients")
    certificate, key = servers.issue("localhost").write(tmp_path, "server")
    ca = replace(tmp_path / "ca.crt", clients.certificate)
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(table("first", 'certificate_names = ["first.internal"]'))
    arguments = ["--triton", triton_server.grpc_address, "--default-model", "nothing", "--tenants", str(tenants)]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(ca)]
    known = clients.issue_client("somebody")
    credentials = grpc.ssl_channel_credentials(servers.certificate, known.key, known.certificate)
    with started_service(*arguments, credentials=credentials) as service:
        assert service.output is not None
        load = RotatingLoad(service.address, servers, clients)
        load.wait_calls(1)
        for round_number in range(3):
            # The old token stays until the new one is known, as any rotation must have it.
            servers.issue("localhost").write(tmp_path, "server")
            digests = [hashlib.sha256(f"token-{n}".encode()).hexdigest() for n in ("first", f"round-{round_number}")]
            replace(
                tenants,
                f'[[tenant]]\nname = "first"\ntoken_sha256 = ["{digests[0]}", "{digests[1]}"]\n'
                'certificate_names = ["first.internal"]\n'.encode(),
            )
            service.output.wait_for(partial(have_been_read, service.output, round_number + 1))
            load.wait_calls(load.call_count + 10)
        load.stop()
    assert load.failures == []
    assert load.call_count > 30


def have_been_read(output: Output, times: int, _event: dict[str, Any]) -> bool:
    text = output.text()
    return all(text.count(f'"file": "{name}"') >= times for name in ("server.crt", "tenants.toml"))


class RotatingLoad:
    """Two callers, one with a token and one with a certificate alone; each call on a connection of its own."""

    def __init__(self, address: str, servers: Authority, clients: Authority) -> None:
        self.call_count = 0
        self.failures: list[str] = []
        self._address = address
        self._news = threading.Condition()
        self._stopped = False
        identities = [clients.issue_client("somebody"), clients.issue_client("first.internal")]
        credentials = [
            grpc.ssl_channel_credentials(servers.certificate, one.key, one.certificate) for one in identities
        ]
        self._threads = [
            threading.Thread(target=self._call, args=(credential, metadata))
            for credential, metadata in zip(credentials, (bearer("token-first"), []), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, credentials: grpc.ChannelCredentials, metadata: list[tuple[str, str]]) -> None:
        while not self._stopped:
            options = (("grpc.use_local_subchannel_pool", 1),)
            with grpc.secure_channel(self._address, credentials, options) as channel:
                stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
                try:
                    stub.RemoveBackground(photo(), timeout=30, metadata=metadata, wait_for_ready=True)
                except grpc.RpcError as exc:
                    self.failures.append(str(exc))
            with self._news:
                self.call_count += 1
                self._news.notify_all()

    def wait_calls(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.call_count >= count, 60)

    def stop(self) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()

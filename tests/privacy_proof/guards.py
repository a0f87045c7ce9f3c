# SPDX-License-Identifier: Apache-2.0
"""Certificates and tokens for a gateway under proof, and who gets in with what."""

import hashlib
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from testkit.certificates import Authority, replace
from testkit.tls_clients import RefusedError, context, handshake

from privacy_proof.findings import Finding, finding
from privacy_proof.service import Service


class Guards:
    """A gateway's certificate, the authority of its callers, and its one tenant. Owns the files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_urlsafe(32)
        self._servers, self._clients = Authority("servers"), Authority("clients")
        certificate, key = self._servers.issue("localhost").write(folder, "server")
        ca = replace(folder / "clients.crt", self._clients.certificate)
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        table = f'[[tenant]]\nname = "proof"\ntoken_sha256 = ["{digest}"]\noperator = true\n'
        tenants = replace(folder / "tenants.toml", table.encode())
        self.arguments = (
            *("--tls-certificate", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(ca)),
            *("--tenants", str(tenants), "--close-metrics", "--close-reflection"),
        )
        self._identity = self._clients.issue_client("proof").write(folder, "client")
        self.credentials = self._credentials(self._clients)

    def findings(self, service: Service) -> Iterator[Finding]:
        """Knock with what must be let in and what must not."""
        versions = {version: self._handshake(service, version) for version in list(ssl.TLSVersion)[1:-1]}
        spoken = {version.name for version, agreed in versions.items() if agreed}
        yield finding("TLS 1.3 and nothing older", f"accepted: {', '.join(sorted(spoken))}", kept=spoken == {"TLSv1_3"})
        refusals = {
            "a certificate of strangers": self._call(service, self._credentials(Authority("clients")), self.token),
            "no certificate": self._call(service, grpc.ssl_channel_credentials(self._servers.certificate), self.token),
            "a wrong token": self._call(service, self.credentials, "wrong"),
            "no token": self._call(service, self.credentials, ""),
        }
        let_in = [name for name, code in refusals.items() if code is grpc.StatusCode.OK]
        right = self._call(service, self.credentials, self.token) is grpc.StatusCode.OK
        measured = f"of {len(refusals)} who do not, let in: {let_in or 'none'}; who does: {'yes' if right else 'no'}"
        yield finding("nobody in who does not belong", measured, kept=right and not let_in)

    def _credentials(self, authority: Authority) -> grpc.ChannelCredentials:
        identity = authority.issue_client("proof")
        return grpc.ssl_channel_credentials(self._servers.certificate, identity.key, identity.certificate)

    def _handshake(self, service: Service, version: ssl.TLSVersion) -> bool:
        try:
            client = context(roots=None, versions=(version, version), identity=self._identity)
            handshake(service.address, client)
        except (RefusedError, ValueError):
            return False
        return True

    @staticmethod
    def _call(service: Service, credentials: grpc.ChannelCredentials, token: str) -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with grpc.secure_channel(service.address, credentials) as channel:
            stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
            try:
                stub.ListModels(pb.ListModelsRequest(), timeout=20, metadata=metadata)
            except grpc.RpcError as exc:
                code: grpc.StatusCode = exc.code()
                return code
        return grpc.StatusCode.OK

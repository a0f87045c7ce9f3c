# SPDX-License-Identifier: Apache-2.0
"""Whom connections to Tritons and the collector trust: the authorities of a file, or those that grpc brings."""

import ssl
from pathlib import Path

import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.reloading.client_tls import ClientTlsSettings, client_tls
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file


def context_of(settings: ClientTlsSettings) -> ssl.SSLContext:
    return client_tls(settings, clock=SystemClock()).value().context


def test_without_files_the_authorities_are_those_that_grpc_brings() -> None:
    assert len(context_of(ClientTlsSettings()).get_ca_certs()) > 50


def test_with_a_file_its_authority_is_the_only_one(tmp_path: Path) -> None:
    ca_file = replace_file(tmp_path / "ca.crt", Authority("servers").certificate)
    (trusted,) = context_of(ClientTlsSettings(ca_file)).get_ca_certs()
    assert ((("commonName", "servers"),)) in trusted["subject"]


@pytest.mark.parametrize("with_file", [True, False])
def test_a_server_must_show_a_certificate_for_its_name_by_tls_1_3(tmp_path: Path, with_file: bool) -> None:
    ca_file = replace_file(tmp_path / "ca.crt", Authority("servers").certificate) if with_file else None
    context = context_of(ClientTlsSettings(ca_file))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3

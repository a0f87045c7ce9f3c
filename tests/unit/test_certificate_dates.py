# SPDX-License-Identifier: Apache-2.0
"""Until when certificates are valid is read off their encoding as other libraries read it."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.reloading.certificate_dates import first_expiry_s
from testkit.certificates import Authority

DAY = dt.timedelta(days=1)
AUTHORITY = Authority()


def expiry_of(pem: bytes) -> float:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


@pytest.mark.parametrize("days", [-400, 1, 9000, 40_000])  # from 2050 on the time is written in another form
def test_the_end_is_that_which_others_read(days: int) -> None:
    issued = Authority().issue("gateway", starts=-500 * DAY, ends=days * DAY).certificate
    assert first_expiry_s(issued.decode()) == pytest.approx(min(map(expiry_of, _each(issued))))


def test_of_several_the_first_end_counts() -> None:
    authority = Authority()
    long, short = (authority.issue("x", ends=dt.timedelta(hours=hours)).certificate for hours in (20, 2))
    assert first_expiry_s((long + short).decode()) == pytest.approx(min(map(expiry_of, _each(short))))


def test_where_there_is_no_certificate_nothing_expires() -> None:
    assert first_expiry_s("-----BEGIN PRIVATE KEY-----\n") == float("inf")


@given(st.integers(0, 400), st.binary(max_size=4))
def test_a_damaged_certificate_is_refused_and_nothing_else(cut: int, more: bytes) -> None:
    der = ssl.PEM_cert_to_DER_cert(_each(AUTHORITY.certificate)[0].decode())
    pem = ssl.DER_cert_to_PEM_cert(der[:cut] + more)
    try:
        first_expiry_s(pem)
    except ValueError:
        return


def _each(pem: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----\n"
    return [part + end for part in pem.split(end) if part.strip()]

# SPDX-License-Identifier: Apache-2.0
"""Until when certificates are valid, read off their encoding: Python's own ssl tells that of a peer's alone."""

import re
import ssl
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_LONG_LENGTH = 0x80


def first_expiry_s(pem: str) -> float:
    """Return when the first of some certificates expires, in seconds since 1970; inf where there is none.

    Raises:
        ValueError: One of them is none.
    """
    return min((_expiry_s(ssl.PEM_cert_to_DER_cert(text)) for text in _PEM.findall(pem)), default=float("inf"))


def _expiry_s(der: bytes) -> float:
    """Return a certificate's `notAfter` (RFC 5280, 4.1): of its body, the second time of the fifth field."""
    try:
        _, body, _ = _element(der)
        _, body, _ = _element(body)
        tag, _, rest = _element(body)
        fields_before = 3 if tag == _VERSION else 2  # serial number, algorithm, issuer; the version may be left out
        for _ in range(fields_before):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, value, _ = _element(rest)
        text = value.decode("ascii")
    except (IndexError, UnicodeDecodeError) as exc:
        raise ValueError("this is no certificate") from exc
    if tag == _UTC_TIME:  # two digits of the year, up to 2049 (RFC 5280, 4.1.2.5.1)
        text = ("20" if text[:2] < "50" else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("this is no certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element (X.690), and what follows it."""
    tag, length, at = der[0], der[1], 2
    if length >= _LONG_LENGTH:
        size = length - _LONG_LENGTH
        length, at = int.from_bytes(der[2 : 2 + size], "big"), 2 + size
    if at + length > len(der):
        raise IndexError("an element ends before its length")
    return tag, der[at : at + length], der[at + length :]

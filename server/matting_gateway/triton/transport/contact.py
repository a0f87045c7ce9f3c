# SPDX-License-Identifier: Apache-2.0
"""What is found at a Triton's address where no Triton answers: one connection, told in words with what to do."""

import asyncio
import os
import ssl
from dataclasses import dataclass

from grpc_h2.client.greeting import spoken_at

_START_IT = "start Triton there, wait if it still loads its models, or name another with --triton"
_NO_TLS = "leave out --triton-tls-ca, or put TLS in front of that Triton"
_GRPC_PORT = "name Triton's gRPC port, which is 8001 unless told otherwise"
_TLS = "give --triton-tls-ca"
_CERTIFICATE = "give --triton-tls-certificate and --triton-tls-key"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, and what to do about it."""

    seen: str
    advice: str


async def find_out(target: str, tls: ssl.SSLContext | None, server_name: str, timeout_s: float) -> Finding | None:
    """Connect as a client of gRPC would, say hello, and return what is wrong; None where it is answered in HTTP/2.

    Args:
        target: Where, in gRPC's form.
        tls: What to connect with, if not in the clear.
        server_name: What the server's certificate must name.
        timeout_s: When to give up.
    """
    try:
        async with asyncio.timeout(timeout_s):
            spoken = await spoken_at(target, tls, server_name)
    except TimeoutError:
        return Finding(f"nothing answers within {timeout_s:g} s", _START_IT)
    except ssl.SSLCertVerificationError as exc:
        return Finding(f"its certificate is refused: {exc.verify_message}", "check --triton-tls-ca and the host name")
    except ssl.SSLError as exc:
        return Finding(f"it does not speak TLS as it should ({exc.reason or 'handshake failed'})", _NO_TLS)
    except (ConnectionResetError, BrokenPipeError):
        wants = f"if it wants TLS, {_TLS}" if tls is None else f"if it wants a client's certificate, {_CERTIFICATE}"
        return Finding("the connection is closed at once", f"{_GRPC_PORT}; {wants}")
    except OSError as exc:
        return Finding(os.strerror(exc.errno).lower(), _START_IT) if exc.errno else Finding(str(exc), _GRPC_PORT)
    if not spoken:
        return None
    return Finding(f"it speaks {spoken} instead of gRPC", _TLS if spoken == "TLS" else _GRPC_PORT)

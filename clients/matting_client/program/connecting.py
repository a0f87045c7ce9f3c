# SPDX-License-Identifier: Apache-2.0
"""Clients as the command line asks for them, and what to say where they fail."""

import argparse
import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from matting_client.aio import AsyncClient
from matting_client.client import Client
from matting_client.errors import MattingError, ModelNotFoundError, ServerUnreachableError
from matting_client.program.explaining import explain, which_models
from matting_client.program.parsing import UsageError
from matting_client.program.reach import why_unreachable
from matting_client.transport.connection import Tls
from matting_client.transport.retry import RetryPolicy

FAILED, UNREACHABLE = 1, 3

Kind = TypeVar("Kind", Client, AsyncClient)


def make_client(arguments: argparse.Namespace, kind: type[Kind], retry: RetryPolicy | None = None) -> Kind:
    """Make the client, blocking or for asyncio.

    Raises:
        UsageError: A file for TLS cannot be read, or holds something else.
        ValueError: An address or an option that cannot be.
    """
    return kind(
        *arguments.server,
        tls=read_tls(arguments),
        token=arguments.token,
        token_over_plaintext=arguments.token_over_plaintext,
        timeout_s=arguments.timeout,
        retry=retry,
    )


def read_tls(arguments: argparse.Namespace) -> Tls | None:
    """Return the TLS files asked for, or None for plaintext.

    Raises:
        UsageError: A file cannot be read, or holds something else.
        ValueError: A certificate has no key, or the other way round.
    """
    if not (arguments.tls or arguments.tls_ca or arguments.tls_cert or arguments.tls_key):
        if arguments.tls_server_name:
            raise UsageError("--tls-server-name goes with --tls or --tls-ca")
        return None
    tls = Tls(arguments.tls_ca, arguments.tls_cert, arguments.tls_key, arguments.tls_server_name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        _try_pem(f"--tls-ca {tls.ca_file}", lambda: context.load_verify_locations(tls.ca_file))
    if tls.certificate_file is not None and tls.key_file is not None:
        options = f"--tls-cert {tls.certificate_file} --tls-key {tls.key_file}"
        certificate, key = tls.certificate_file, tls.key_file
        _try_pem(options, lambda: context.load_cert_chain(certificate, key))
    return tls


def code_of(error: MattingError) -> int:
    """Return the exit code that tells of a failure."""
    return UNREACHABLE if isinstance(error, ServerUnreachableError) else FAILED


def explain_at_length(arguments: argparse.Namespace, error: MattingError, *, answered: bool = False) -> str:
    """Say why nothing more can be done, looking once more where that tells more; `answered`: the gateway did before."""
    if isinstance(error, ServerUnreachableError):
        why = why_unreachable(arguments.server, read_tls(arguments), error.message)
        return f"the gateway stopped answering: {why}" if answered else why
    if isinstance(error, ModelNotFoundError):
        with contextlib.suppress(MattingError), make_client(arguments, Client) as client:
            names = [model.name for model in client.list_models()]
            return f"{explain(error)}{which_models(arguments.model.partition(':')[0], names)}"
    return explain(error)


def _try_pem(options: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise UsageError(f"{options}: nothing that can be read as PEM ({error.reason or error})") from error
    except OSError as error:
        raise UsageError(f"{options}: {error.strerror}") from error

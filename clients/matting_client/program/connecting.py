# SPDX-License-Identifier: Apache-2.0
"""Clients as the command line asks for them, and what to say where they fail."""

import contextlib
import dataclasses
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from matting_client.aio import AsyncClient
from matting_client.client import Client
from matting_client.errors import MattingError, ModelNotFoundError, ServerUnreachableError
from matting_client.program.explaining import explain, plain, which_models
from matting_client.program.parsing import FAILED, UNREACHABLE
from matting_client.program.reach import why_unreachable
from matting_client.transport.connection import Tls
from matting_client.transport.retry import RetryPolicy

Kind = TypeVar("Kind", Client, AsyncClient)


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """Which gateway is asked, and how: what the options of the section `server` say, under their names."""

    server: Sequence[str]
    tls: bool
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None
    tls_server_name: str
    token: str = dataclasses.field(repr=False)
    token_over_plaintext: bool
    timeout: float

    def client(self, kind: type[Kind], retry: RetryPolicy | None = None) -> Kind:
        """Make the client, blocking or for asyncio.

        Raises:
            ValueError: A file for TLS cannot be read, or holds something else; or an address cannot be.
        """
        return kind(
            *self.server,
            tls=self.read_tls(),
            token=self.token or None,
            token_over_plaintext=self.token_over_plaintext,
            timeout_s=self.timeout,
            retry=retry,
        )

    def read_tls(self) -> Tls | None:
        """Return the TLS files asked for, or None for plaintext.

        Raises:
            ValueError: A file cannot be read, or holds something else; or a certificate has no key.
        """
        if not (self.tls or self.tls_ca or self.tls_cert or self.tls_key):
            if self.tls_server_name:
                raise ValueError("--tls-server-name goes with --tls or --tls-ca")
            return None
        tls = Tls(self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if tls.ca_file is not None:
            _try_pem(f"--tls-ca {tls.ca_file}", lambda: context.load_verify_locations(tls.ca_file))
        if tls.certificate_file is not None and tls.key_file is not None:
            options = f"--tls-cert {tls.certificate_file} --tls-key {tls.key_file}"
            certificate, key = tls.certificate_file, tls.key_file
            _try_pem(options, lambda: context.load_cert_chain(certificate, key))
        return tls

    def explain(self, error: MattingError, model: str = "", *, answered: bool = False) -> str:
        """Say why nothing more can be done, looking once more where that tells more; `answered`: it did before."""
        if isinstance(error, ServerUnreachableError):
            why = why_unreachable(self.server, self.read_tls(), error.message)
            return f"the gateway stopped answering: {why}" if answered else why
        if isinstance(error, ModelNotFoundError):
            with contextlib.suppress(MattingError), self.client(Client) as client:
                names = [model.name for model in client.list_models()]
                return f"{explain(error)}{which_models(model, names)}"
        return explain(error)


def with_server(run: Callable[..., int]) -> Callable[..., int]:
    """Return a command that gets what the options of the section `server` say as one, and tells why it failed."""

    def command(**given: Any) -> int:
        server = Server(**{field.name: given.pop(field.name) for field in dataclasses.fields(Server)})
        try:
            return run(server, **given)
        except MattingError as error:
            name = click.get_current_context().command_path
            print(plain(f"{name}: {server.explain(error)}"), file=sys.stderr)  # noqa: T201 - a program
            return code_of(error)

    return command


def code_of(error: MattingError) -> int:
    """Return the exit code that tells of a failure."""
    return UNREACHABLE if isinstance(error, ServerUnreachableError) else FAILED


def _try_pem(options: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ValueError(f"{options}: nothing that can be read as PEM ({error.reason or error})") from error
    except OSError as error:
        raise ValueError(f"{options}: {error.strerror}") from error

# SPDX-License-Identifier: Apache-2.0
"""The listener's TLS: certificate files that reload, and callers' certificates where wanted.

That only TLS 1.3 is spoken rests on the process's environment (`privacy.hardening`): grpc has no
switch for it, and reads its list of cipher suites once, before its first use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from matting_gateway.clock import Clock
from matting_gateway.watched_files import (
    KeyPair,
    ReloadReport,
    WatchedFiles,
    WatchedFilesStatistics,
    read_key_pair,
    read_roots,
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The listener's files, PEM. With `client_ca_file` callers must show a certificate that it signed."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Identity:
    key_pair: KeyPair
    client_roots: bytes | None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self.key_pair.private_key, self.key_pair.certificate_chain)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.client_roots)


class ServerTls:
    """Credentials of a listener, new ones for each handshake after the files changed.

    Owns the version that grpc was last given. Open connections keep the certificate they began
    with. grpc calls on its own threads; the worst that a race costs is one needless change.
    """

    def __init__(
        self, settings: TlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
    ) -> None:
        self._settings = settings
        paths = [settings.certificate_file, settings.key_file]
        if settings.client_ca_file is not None:
            paths.append(settings.client_ca_file)
        self._files: WatchedFiles[_Identity] = WatchedFiles(paths, self._read, clock=clock, on_reload=on_reload)
        self._given_version = 0

    @property
    def mutual(self) -> bool:
        """Whether callers must show a certificate."""
        return self._settings.client_ca_file is not None

    def credentials(self) -> grpc.ServerCredentials:
        """Return what `add_secure_port` takes. Reads the files now.

        Raises:
            WatchedFileError: They cannot be read, or do not fit together.
        """
        initial = self._files.value().configuration()
        self._given_version = self._files.version
        return grpc.dynamic_ssl_server_credentials(
            initial,
            self._changed,  # type: ignore[arg-type]  # None is documented to mean unchanged; the stubs lack it
            require_client_authentication=self.mutual,
        )

    def statistics(self) -> WatchedFilesStatistics:
        return self._files.statistics()

    def __repr__(self) -> str:
        return f"<ServerTls {'mutual, ' if self.mutual else ''}{self._files!r}>"

    def _read(self) -> _Identity:
        s = self._settings
        roots = None if s.client_ca_file is None else read_roots(s.client_ca_file)
        return _Identity(read_key_pair(s.certificate_file, s.key_file), roots)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration, or None where the one grpc holds still stands. Called at each handshake."""
        identity = self._files.value()
        version = self._files.version
        if version == self._given_version:
            return None
        self._given_version = version
        return identity.configuration()

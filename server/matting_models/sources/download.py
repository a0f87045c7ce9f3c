# SPDX-License-Identifier: Apache-2.0
"""Downloads a file over HTTPS to a place where it appears whole and checked or not at all."""

import http.client
import ssl
import urllib.request
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit

from matting_models.errors import DownloadError
from matting_models.sources.fetch import Say, replacing, require_hash

# The most a protobuf message may hold, and so an ONNX file without external weights.
LARGEST_MODEL_BYTES = 1 << 31
_SILENCE_S = 30.0
_CHUNK_BYTES = 1 << 20


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to another HTTPS address and to nothing else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_url(source: str) -> bool:
    """Whether what was given to `models add` is an address and not a name or a file."""
    return "://" in source


def file_name_of(url: str) -> str:
    """The last part of an address's path."""
    return Path(urlsplit(url).path).name


def download(
    url: str,
    target: Path,
    say: Say,
    *,
    sha256: str,
    md5: str = "",
    max_bytes: int = LARGEST_MODEL_BYTES,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Downloads `url` to `target`, which must have these hashes and at most `max_bytes`.

    `tls` None trusts the system's certificate authorities (or SSL_CERT_FILE's).

    Raises:
        DownloadError: it is no HTTPS address, leads to none, is too large, or could not be fetched.
        HashMismatchError: it is another file.
    """
    _require_https(url)
    handler = urllib.request.HTTPSHandler(context=tls or ssl.create_default_context())
    opener = urllib.request.build_opener(handler, _HttpsOnly)
    say(f"downloading {url}")
    try:
        with opener.open(url, timeout=_SILENCE_S) as response, replacing(target) as beside:
            _require_size(int(response.headers.get("Content-Length") or 0), max_bytes, url)
            _copy(response, beside, max_bytes, url)
            require_hash(beside, sha256, md5)
    except (URLError, http.client.HTTPException, TimeoutError, OSError) as exc:
        reason = exc.reason if isinstance(exc, URLError) else exc
        raise DownloadError(
            f"{url} could not be downloaded: {reason or type(exc).__name__}. Where this machine has no way there, "
            "bring the file by another and add it as a file; its hash is checked all the same with --sha256."
        ) from exc


def _copy(source: IO[bytes], target: Path, max_bytes: int, url: str) -> None:
    received = 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            received += len(chunk)
            _require_size(received, max_bytes, url)
            file.write(chunk)


def _require_size(size_bytes: int, max_bytes: int, url: str) -> None:
    if size_bytes > max_bytes:
        raise DownloadError(f"{url} is larger than the {max_bytes} bytes allowed; nothing of it was kept.")


def _require_https(url: str) -> None:
    if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
        raise DownloadError(f"{url} is no https:// address; models are fetched over HTTPS only, redirections included.")

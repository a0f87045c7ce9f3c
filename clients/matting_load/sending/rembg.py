# SPDX-License-Identifier: Apache-2.0
"""How a call is made to rembg's HTTP server."""

import itertools
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from matting_load.outcomes import EMPTY_ANSWER, NO_ANSWER_IN_TIME, OK
from matting_load.plan import RembgTarget, split_addresses
from matting_load.sending.payloads import Payload
from matting_load.sending.reaching import reach_socket
from matting_load.sending.samples import ErrorSamples


class RembgSender:
    """Posts photos as forms, as browsers do. Owns the HTTP session."""

    def __init__(self, target: RembgTarget, payloads: tuple[Payload, ...]) -> None:
        self.errors = ErrorSamples()
        self._urls = [f"{url.rstrip('/')}/api/remove" for url in split_addresses(target.url)]
        self._turn = itertools.cycle(self._urls)
        boundary = "matting-load-boundary-7d1f"
        fields = {"model": target.model, "om": "true" if target.only_mask else "false"}
        self.payloads = tuple(
            Payload(each.name, _form(boundary, fields, each.name, each.content), each.share) for each in payloads
        )
        self._headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        for url in self._urls:
            parts = urlsplit(url)
            await reach_socket(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, index: int, timeout_s: float | None) -> str:
        if self._session is None:
            raise RuntimeError("enter the sender first")
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        body = self.payloads[index].content
        try:
            url = next(self._turn)
            async with self._session.post(url, data=body, headers=self._headers, timeout=timeout) as response:
                content = await response.read()
        except TimeoutError:
            return NO_ANSWER_IN_TIME
        except aiohttp.ClientError as error:
            self.errors.note(type(error).__name__, str(error))
            return type(error).__name__
        if response.status != 200:
            self.errors.note(f"HTTP_{response.status}", content.decode(errors="replace"))
            return f"HTTP_{response.status}"
        return OK if content else EMPTY_ANSWER


def _form(boundary: str, fields: dict[str, str], file_name: str, content: bytes) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    return b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])

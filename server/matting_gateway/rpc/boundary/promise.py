# SPDX-License-Identifier: Apache-2.0
"""What a caller promises of a call's size before its body is read."""

from dataclasses import dataclass

from matting_gateway.errors import OptionInvalidError, OverloadedError, ResidencyExceededError
from matting_gateway.rpc.settings import DoorSettings

REQUEST_BYTES_KEY = "x-matting-request-bytes"
PIXELS_KEY = "x-matting-pixels"
# A message is held as it came and once more: in its batch or answer, or as the objects made of it.
COPIES_HELD = 2


@dataclass(frozen=True, slots=True)
class Promise:
    """The most memory that a call may need: what its metadata promises, or else every limit.

    `kept` says that the message's length was promised, so that a permit for all of the call can be taken at once.
    """

    request_bytes: int
    pixel_count: int
    kept: bool
    pixels_promised: bool

    def message_bytes(self, announced_bytes: int) -> int:
        """Return what the message alone takes: as long as was promised, or as its prefix says."""
        return COPIES_HELD * (self.request_bytes if self.kept else min(announced_bytes, self.request_bytes))

    def byte_count(self, settings: DoorSettings) -> int:
        return self.request_bytes + settings.photo_bytes + self.pixel_count * settings.worst_bytes_per_pixel

    def check_pixels(self, pixel_count: int) -> None:
        """Raise where the photo is larger than promised."""
        if self.pixels_promised and pixel_count > self.pixel_count:
            raise OptionInvalidError(
                f"The photo has more pixels than its metadata {PIXELS_KEY} promised; send their true count, or none.",
                field=PIXELS_KEY,
            )


def broken_promise() -> OptionInvalidError:
    """Return what to tell a caller whose message is larger than promised."""
    return OptionInvalidError(
        f"The request is larger than its metadata {REQUEST_BYTES_KEY} promised; send its true length, or none.",
        field=REQUEST_BYTES_KEY,
    )


def came_too_slowly(timeout_s: float) -> ResidencyExceededError:
    """Return what to tell a caller whose message did not come within so many seconds."""
    return ResidencyExceededError(f"The request did not arrive within {timeout_s:g} s; send it faster.")


def gave_way() -> OverloadedError:
    """Return what to tell a caller whose message did not come while others waited."""
    return OverloadedError(
        "The message came too slowly while others waited for the memory kept for it; send it faster.", retry_after_s=1.0
    )


def promise_of(metadata: dict[str, str | bytes], settings: DoorSettings) -> Promise:
    """Return what a call's metadata promises; a promise left out or over a limit counts as the limit.

    Raises:
        OptionInvalidError: A promise that is no whole number.
    """
    request_bytes = _promised(metadata, REQUEST_BYTES_KEY)
    pixel_count = _promised(metadata, PIXELS_KEY)
    return Promise(
        min(settings.max_message_bytes if request_bytes is None else request_bytes, settings.max_message_bytes),
        min(settings.max_pixels if pixel_count is None else pixel_count, settings.max_pixels),
        kept=request_bytes is not None,
        pixels_promised=pixel_count is not None,
    )


def _promised(metadata: dict[str, str | bytes], key: str) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 18:
        raise OptionInvalidError(f"Metadata {key} must be a whole number in decimal digits.", field=key)
    return int(value)

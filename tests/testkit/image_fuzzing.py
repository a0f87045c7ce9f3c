# SPDX-License-Identifier: Apache-2.0
"""Mutates image files and decodes them the way the gateway does, in an imaging worker."""

import asyncio
import random
import re
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

from matting_gateway.clock import SystemClock
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto
from matting_gateway.errors import (
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
)
from matting_gateway.imaging.dispatch.worker_pool import WorkerFailedError
from matting_gateway.imaging.inspect import read_header
from matting_gateway.imaging.plan import DecodePlan, plan_decode
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImageLimits
from matting_pixels.placement import stretch

from testkit.decoding import ALL_FORMATS, CUTOUT, SETTINGS
from testkit.pngs import SIGNATURE

LONGEST_S = 1.0
_TIMEOUT_S = 5.0
_GRID = ModelInput(16, 16)
# Large enough for lying headers to matter, small enough for many files a second.
_LIMITS = replace(ImageLimits(), max_pixels=4_000_000, max_profile_bytes=1 << 20)
_SETTINGS = replace(SETTINGS, limits=_LIMITS, allow_animated=True, worker_count=1, worker_timeout_s=_TIMEOUT_S)
_REASONS = (ImageUnreadableError, ImageFormatUnsupportedError, ImageTooLargeError)
_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF)
_WIDE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a changed copy: flipped bits, odd values, cut, repeated or swapped pieces, a piece of another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not data:
            return bytes(other)
        at = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(min(len(data), 200))
        _CHANGES[rng.randrange(len(_CHANGES))](data, at, other, rng)
    if rng.random() < 0.7:
        _mend_checksums(data)
    return bytes(data)


def _mend_checksums(data: bytearray) -> None:
    """Make the checksums of a PNG's chunks right again: a decoder looks no further where they are wrong."""
    if not data.startswith(SIGNATURE):
        return
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def _flip(data: bytearray, at: int, _: bytes, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _value(data: bytearray, at: int, _: bytes, rng: random.Random) -> None:
    data[at] = rng.choice(_INTERESTING) if rng.random() < 0.5 else rng.randrange(256)


def _number(data: bytearray, at: int, _: bytes, rng: random.Random) -> None:
    length = rng.choice((2, 4))
    value = (rng.choice(_WIDE) & ((1 << 8 * length) - 1)).to_bytes(length, rng.choice(("big", "little")))
    data[at : at + length] = value[: len(data) - at]


def _cut(data: bytearray, at: int, _: bytes, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 2, 4, 16, len(data)))]


def _repeat(data: bytearray, at: int, _: bytes, rng: random.Random) -> None:
    data[at:at] = data[at : at + rng.choice((1, 4, 16, 64))] * rng.choice((1, 2, 16))


def _splice(data: bytearray, at: int, other: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(other))
    data[at : at + rng.randrange(32)] = other[start : start + rng.randrange(1, 64)]


_CHANGES = (_flip, _value, _number, _cut, _repeat, _splice)


@dataclass
class Outcome:
    """What became of the files.

    `bad` are those that crashed, hung, or failed without a reason: (why, file). `stalled` is how often a file took
    longer than a second once, and not when it was tried again.
    """

    count: int = 0
    decoded: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    corpus: int = 0
    stalled: int = 0
    bad: list[tuple[str, bytes]] = field(default_factory=list)


class Fuzzer:
    """Guided by coverage of the header readers, line by line, and by new outcomes of the decoders behind them."""

    def __init__(self, files: dict[str, bytes], seed: int) -> None:
        self._rng = random.Random(seed)
        self._honest = list(files.values())
        self._corpus = list(self._honest)
        self._seen: set[Any] = set()
        self._loop = asyncio.Runner()
        self._room = ImagingService(_SETTINGS, clock=SystemClock())
        self._loop.run(self._room.start())
        self.outcome = Outcome()

    def close(self) -> None:
        self._loop.run(self._room.close())
        self._loop.close()

    def step(self) -> None:
        """Try one file; keep it as a seed if it reached something new."""
        # Half of all start from honest files: what is already broken rarely gets far.
        start = self._rng.choice(self._honest if self._rng.random() < 0.5 else self._corpus)
        content = mutate(start, self._rng.choice(self._corpus), self._rng)
        lines: set[Any] = set()
        result = self.run(content, lines)
        reached = lines | {result}
        if not reached <= self._seen:
            self._seen |= reached
            if 0 < len(content) < 20_000:
                self._corpus.append(content)
        self.outcome.corpus = len(self._corpus)

    def run(self, content: bytes, lines: set[Any] | None = None) -> str:
        """Decode one file and record what became of it."""
        self.outcome.count += 1
        result, took = self._timed(content, lines)
        if took > LONGEST_S:
            # Other programs take their time too: only a file that is slow again is slow.
            result, again = self._timed(content, None)
            took = min(took, again)
            if took <= LONGEST_S:
                self.outcome.stalled += 1
            else:
                self.outcome.bad.append((f"took {took:.2f} s, twice", content))
        self.outcome.slowest_s = max(self.outcome.slowest_s, took)
        return result

    def _timed(self, content: bytes, lines: set[Any] | None) -> tuple[str, float]:
        outcome = self.outcome
        start = time.monotonic()
        try:
            plan = _plan(content, lines)
            result = self._decode(content, plan)
        except _REASONS as error:
            result = re.sub(r"[\d,]+", "", error.message)
            outcome.refused[error.reason] += 1
            if not error.message:
                outcome.bad.append(("no reason given", content))
        except TimeoutError as error:
            result = repr(error)
        except Exception as error:  # noqa: BLE001 - finding them is the purpose
            result = repr(type(error))
            outcome.bad.append((repr(error), content))
        return result, time.monotonic() - start

    def _decode(self, content: bytes, plan: DecodePlan) -> str:
        photo = EncodedPhoto(content)
        header = self._room.inspect(photo, (CUTOUT,))
        try:
            with self._loop.run(self._room.prepare(photo, header, _GRID, (CUTOUT,))) as prepared:
                has_alpha = prepared.kept[0].alpha
        except ImageUnreadableError as error:
            if isinstance(error.__cause__, WorkerFailedError):
                raise (TimeoutError if error.__cause__.too_slow else RuntimeError)(str(error.__cause__)) from None
            raise
        self.outcome.decoded += 1
        return f"{plan.header.format} {not has_alpha} {plan.header.bits_per_sample} {plan.reduction}"


def _plan(content: bytes, lines: set[Any] | None) -> DecodePlan:
    if lines is None:
        return _plan_untraced(content)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if "imaging" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.add((frame.f_code.co_name, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        return _plan_untraced(content)
    finally:
        sys.settrace(None)


def _plan_untraced(content: bytes) -> DecodePlan:
    header = read_header(EncodedPhoto(content), _SETTINGS, ALL_FORMATS)
    if header is None:
        raise TypeError("a file was taken for raw pixels")
    return plan_decode(header, stretch(16, 16), (CUTOUT,), exact=False, max_profile_bytes=1 << 20)

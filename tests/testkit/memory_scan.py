# SPDX-License-Identifier: Apache-2.0
"""Searches another process's readable memory for pieces of known content.

Needs the right to trace the process: root, CAP_SYS_PTRACE, or the same user where the process is
dumpable. A piece of content is known by anchors: the 16 bytes that begin wherever one chosen byte
value stands. In content that looks like noise an anchor comes every 256 bytes on average, so a
left-over of 1 KiB is found with 98% probability, one of 4 KiB always, and what is found times 256
is about how much there is.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ANCHOR_BYTE = 0xA7
_ANCHOR_LENGTH = 16
_BYTES_PER_ANCHOR = 256
# Runs and gradients are in any memory; they would be found everywhere and mean nothing.
_MIN_DISTINCT_COUNT = 8
_READ_BYTES = 16 << 20
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_MAP_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)")
# Devices, and pages that the kernel shares with everybody.
_SKIPPED = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]", "/dev/dri", "/dev/nvidia")


class ScanRefusedError(PermissionError):
    """The process's memory may not be read from here."""


@dataclass(frozen=True, slots=True)
class Found:
    """Left-overs of one kind in one mapping."""

    kind: str
    mapping: str
    hit_count: int
    mapping_bytes: int

    @property
    def about_bytes(self) -> int:
        return self.hit_count * _BYTES_PER_ANCHOR


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one scan found."""

    pid: int
    scanned_bytes: int
    found: tuple[Found, ...]

    @property
    def hit_count(self) -> int:
        return sum(found.hit_count for found in self.found)

    @property
    def about_bytes(self) -> int:
        return sum(found.about_bytes for found in self.found)

    def hits_of(self, kind: str) -> int:
        return sum(found.hit_count for found in self.found if found.kind == kind)


class Canary:
    """Content to look for, by kind: "pixels", "encoded", "result"...

    Owns what was added, and what all of it is known by until more is added.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[np.uint64]]] = {}
        self._known: dict[str, NDArray[np.uint64]] | None = None
        self._plain = np.empty(0, np.uint64)

    def ignore(self, content: bytes | memoryview) -> None:
        """Do not take for the canary what is in other content too, such as a file format's standard tables."""
        self._plain = np.union1d(self._plain, _anchors(np.frombuffer(content, np.uint8))[1])
        self._known = None

    def add(self, kind: str, content: bytes | memoryview) -> bool:
        """Add content. Returns False if it is too plain or too short to be known again anywhere."""
        _, anchors = _anchors(np.frombuffer(content, np.uint8))
        if len(anchors):
            self._parts.setdefault(kind, []).append(anchors)
            self._known = None
        return bool(len(anchors))

    def anchors(self) -> dict[str, NDArray[np.uint64]]:
        """Return what each kind is known by, sorted."""
        if self._known is None:
            for kind, parts in self._parts.items():
                if len(parts) > 1:
                    self._parts[kind] = [np.unique(np.concatenate(parts))]
            self._known = {kind: np.setdiff1d(parts[0], self._plain) for kind, parts in self._parts.items()}
        return self._known


def scan(pid: int, canary: Canary) -> ScanResult:
    """Search all readable memory of a process.

    Raises:
        ScanRefusedError: Its memory may not be read from here.
    """
    found: dict[tuple[str, str], list[int]] = {}
    scanned_bytes = 0
    known = canary.anchors()
    try:
        with (Path("/proc") / str(pid) / "mem").open("rb", buffering=0) as memory:
            for start, end, name in _mappings(pid):
                for block in _blocks(memory.fileno(), start, end):
                    scanned_bytes += len(block)
                    _, present = _anchors(block)
                    for kind, anchors in known.items():
                        hits = _hit_count(present, anchors)
                        if hits:
                            entry = found.setdefault((kind, name), [0, 0])
                            entry[0] += hits
                            entry[1] += end - start
    except PermissionError as exc:
        raise ScanRefusedError(
            f"The memory of process {pid} cannot be read: run this as root or with CAP_SYS_PTRACE."
        ) from exc
    return ScanResult(
        pid, scanned_bytes, tuple(Found(kind, name, *counts) for (kind, name), counts in sorted(found.items()))
    )


def hits_in(content: bytes, canary: Canary) -> int:
    """Count the pieces of a canary in some content."""
    _, present = _anchors(np.frombuffer(content, np.uint8))
    return sum(_hit_count(present, anchors) for anchors in canary.anchors().values())


def _hit_count(present: NDArray[np.uint64], anchors: NDArray[np.uint64]) -> int:
    """Count those of `present` that are among the sorted `anchors`."""
    if not len(anchors):
        return 0
    places = np.searchsorted(anchors, present)
    return int((anchors[np.minimum(places, len(anchors) - 1)] == present).sum())


def _mappings(pid: int) -> Iterator[tuple[int, int, str]]:
    for line in (Path("/proc") / str(pid) / "maps").read_text("utf-8", "replace").splitlines():
        match = _MAP_LINE.fullmatch(line)
        if match is None or "r" not in match[3] or match[4].startswith(_SKIPPED):
            continue
        # A file's own content is on disk already; what a process writes to its private pages of it is not.
        if match[4].startswith("/") and not match[4].startswith("/dev/shm") and "w" not in match[3]:
            continue
        yield int(match[1], 16), int(match[2], 16), match[4] or "[anonymous]"


def _blocks(descriptor: int, start: int, end: int) -> Iterator[NDArray[np.uint8]]:
    """Yield a mapping's content in blocks that overlap by what an anchor needs. Pages that went away are skipped."""
    position = start
    while position < end:
        size = min(_READ_BYTES, end - position)
        try:
            content = os.pread(descriptor, size, position)
        except OSError as exc:
            if isinstance(exc, PermissionError):
                raise
            position += size
            continue
        if not content:
            return
        yield np.frombuffer(content, np.uint8)
        if position + len(content) >= end:
            return
        position += max(1, len(content) - _ANCHOR_LENGTH + 1)


def _anchors(content: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Return the places of the anchors in some content, and a 64-bit digest of each."""
    places = np.flatnonzero(content[: max(0, len(content) - _ANCHOR_LENGTH + 1)] == _ANCHOR_BYTE)
    windows = np.lib.stride_tricks.sliding_window_view(content, _ANCHOR_LENGTH)[places] if len(places) else None
    if windows is None:
        return places, np.empty(0, np.uint64)
    ordered = np.sort(windows, axis=1)
    telling = (np.diff(ordered, axis=1) != 0).sum(axis=1) + 1 >= _MIN_DISTINCT_COUNT
    words = np.ascontiguousarray(windows[telling]).view(np.uint64)
    return places[telling], words[:, 0] ^ (words[:, 1] * _MIXER)

# SPDX-License-Identifier: Apache-2.0
"""Prefix codes (Huffman's) as WebP and deflate have them, and bits packed from the lowest on."""

import heapq
import io

import numpy as np
from numpy.typing import NDArray

_LONGEST_BITS = 15
_WORD_BITS = np.uint64(64)


def prefix_code(counts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return each symbol's length in bits (0: it does not occur) and its code, in the order in which bits are packed.

    At least two symbols must occur.
    """
    lengths = _lengths(counts)
    while lengths.max() > _LONGEST_BITS:
        counts = (counts + 1) // 2
        lengths = _lengths(counts)
    codes = np.zeros(counts.size, np.uint64)
    code = 0
    for length in range(1, _LONGEST_BITS + 1):
        for symbol in np.flatnonzero(lengths == length):
            codes[symbol] = int(f"{code:0{length}b}"[::-1], 2)
            code += 1
        code <<= 1
    return lengths.astype(np.uint64), codes


def _lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how deep in Huffman's tree each symbol lies."""
    heap = [(int(counts[symbol]), int(symbol), [int(symbol)]) for symbol in np.flatnonzero(counts)]
    heapq.heapify(heap)
    lengths = np.zeros(counts.size, np.int64)
    while len(heap) > 1:
        (first, key, symbols), (second, _, more) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[symbols + more] += 1
        heapq.heappush(heap, (first + second, key, symbols + more))
    return lengths


class BitWriter:
    """Packs values of a few bits each, the lowest bit first."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._rest, self._rest_bits = 0, 0

    def write(self, value: int, bits: int) -> None:
        self._rest |= value << self._rest_bits
        self._rest_bits += bits

    def write_all(self, values: NDArray[np.uint64], bits: NDArray[np.uint64]) -> None:
        """Write many values at once, each of 64 bits at most."""
        self._flush()
        ends = np.cumsum(bits) + np.uint64(self._rest_bits)
        starts = ends - bits
        first = (starts // _WORD_BITS).astype(np.intp)
        shifts = starts % _WORD_BITS
        words = np.zeros(first[-1] + 2, np.uint64)
        words[0] = self._rest
        # A value begins in one word and may end in the next; where many share a word, they are joined at once.
        leaders = np.flatnonzero(np.diff(first, prepend=-1))
        words[first[leaders]] |= np.bitwise_or.reduceat(values << shifts, leaders)
        words[first[leaders] + 1] |= np.bitwise_or.reduceat(values >> 1 >> _WORD_BITS - 1 - shifts, leaders)
        end = int(ends[-1])
        packed = words.astype("<u8").view(np.uint8)[: end // 8 + 1]
        self._out.write(packed[:-1].data)
        self._rest, self._rest_bits = int(packed[-1]) & (1 << end % 8) - 1, end % 8

    def finish(self) -> bytes:
        """Return all, filled up to a whole byte."""
        self._rest_bits += -self._rest_bits % 8
        self._flush()
        return self._out.getvalue()

    def _flush(self) -> None:
        """Pass whole bytes on."""
        count = self._rest_bits // 8
        self._out.write((self._rest & (1 << 8 * count) - 1).to_bytes(count, "little"))
        self._rest >>= 8 * count
        self._rest_bits -= 8 * count

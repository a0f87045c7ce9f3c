# SPDX-License-Identifier: Apache-2.0
"""WebP's lossless stream, written strip by strip (RFC 9649, 3: VP8L).

libwebp takes 200 MB and more for 12 megapixels, be they all of a picture or its alpha alone. Here the gradient
foretells each sample; what it gets wrong goes out as single pixels and runs under one set of prefix codes: in the
memory of a strip, and for a cutout in no more bytes or time than libwebp's fastest method takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matting_pixels.arrays import Pixels
from numpy.typing import NDArray

from matting_gateway.imaging.writers.png import FillRows
from matting_gateway.imaging.writers.prefix_code import BitWriter, prefix_code

# Few enough for all that is made of a strip to stay in the processor's cache.
_STRIP_PIXELS = 1 << 16
# Symbols from 256 on are runs. One shorter than this costs more than the pixels themselves.
_VALUES, _RUN_CODES = 256, 24
_SHORTEST_RUN, _LONGEST_RUN = 3, 4096
_SIGNATURE, _SIDE_BITS = 0x2F, 14
_PREDICTOR, _SUBTRACT_GREEN = 0, 2
_GRADIENT, _LARGEST_BLOCK = 12, 7
# Where green, red, blue and alpha lie in a pixel of RGBA, in bits.
_RGBA = (8, 0, 16, 24)
_GREEN_ONLY = (0,)

Words: TypeAlias = NDArray[np.uint8] | NDArray[np.uint32]


def encode_rgba(width: int, height: int, fill: FillRows, *, has_alpha: bool) -> bytes:
    """Return the body of a VP8L chunk of a picture whose rows, uint8 RGBA, are made when they are needed, twice."""
    out = BitWriter()
    for value, bits in ((_SIGNATURE, 8), (width - 1, _SIDE_BITS), (height - 1, _SIDE_BITS), (has_alpha, 1), (0, 3)):
        out.write(value, bits)
    out.write(1 | _PREDICTOR << 1 | _LARGEST_BLOCK << 3, 6)
    out.write(0, 1)
    # One prediction everywhere, so that each block's takes no bits.
    for symbol in (_GRADIENT, 0, 0, 0, 0):
        _write_only_symbol(out, symbol)
    out.write(1 | _SUBTRACT_GREEN << 1, 3)

    def strips() -> Iterator[Words]:
        for top, rest in _unforetold(width, height, (4,), fill):
            if top == 0:
                # The first pixel is told by opaque black: less 255 is one more.
                rest[0, :1, 3] += 1
            rest[..., 0] -= rest[..., 1]
            rest[..., 2] -= rest[..., 1]
            yield rest.reshape(-1).view("<u4")

    out.write(0, 1)
    _write_pixels(out, strips, _RGBA)
    return out.finish()


def encode_gray(gray: Pixels) -> bytes:
    """Return a lossless stream without its header, of uint8 [H, W] under the gradient filter of an alpha."""

    def fill(out: Pixels, top: int) -> None:
        out[:] = gray[top : top + out.shape[0]]

    def strips() -> Iterator[Words]:
        for _, rest in _unforetold(gray.shape[1], gray.shape[0], (), fill):
            yield rest.reshape(-1)

    out = BitWriter()
    out.write(0, 1)
    _write_pixels(out, strips, _GREEN_ONLY)
    return out.finish()


def _unforetold(width: int, height: int, samples: tuple[int, ...], fill: FillRows) -> Iterator[tuple[int, Pixels]]:
    """Yield (top, rows): the difference of each sample to left + above - above left, held within 0 to 255.

    The first row is told by its left neighbours alone, the first column by those above, and the first pixel by 0.
    """
    count = max(1, _STRIP_PIXELS // width)
    strip = np.empty((1 + count, width, *samples), np.uint8)
    for top in range(0, height, count):
        rows = strip[1 : 1 + min(count, height - top)]
        fill(rows, top)
        rest = rows.copy()
        if top == 0:
            rest[0, 1:] -= rows[0, :-1]
        known = rows if top == 0 else strip[: 1 + len(rows)]
        unknown = rest[1:] if top == 0 else rest
        unknown[:, 0] -= known[:-1, 0]
        foretold = known[1:, :-1].astype(np.int16)
        foretold += known[:-1, 1:]
        foretold -= known[:-1, :-1]
        unknown[:, 1:] -= np.clip(foretold, 0, 255, out=foretold).astype(np.uint8)
        yield top, rest
        strip[0] = rows[-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    """Pixels, some of which stand for runs: which, the runs' codes, their further bits and how many these are."""

    pixels: Words
    runs: NDArray[np.intp]
    codes: NDArray[np.intp]
    extra: NDArray[np.uint64]
    extra_bits: NDArray[np.uint64]


def _symbols(pixels: Words, shift: int) -> NDArray[np.intp]:
    return (pixels >> shift & 255).astype(np.intp)


def _tokens(pixels: Words) -> _Tokens:
    """Tell pixels [N] as single ones and runs; a run follows the pixel that it repeats."""
    starts = np.flatnonzero(np.concatenate(([True], pixels[1:] != pixels[:-1])))
    repeats = np.diff(starts, append=pixels.size) - 1
    is_run = repeats >= _SHORTEST_RUN
    counts = 1 + np.where(is_run, -(-repeats // _LONGEST_RUN), repeats)
    stretch = np.repeat(np.arange(starts.size), counts)
    place = np.arange(stretch.size) - np.repeat(np.cumsum(counts) - counts, counts)
    runs = np.flatnonzero(is_run[stretch] & (place > 0))
    length = np.minimum(repeats[stretch[runs]] - (place[runs] - 1) * _LONGEST_RUN, _LONGEST_RUN)
    code, extra, extra_bits = _RUN_PREFIXES[:, length - 1]
    return _Tokens(pixels[starts][stretch], runs, code.astype(np.intp), extra, extra_bits)


def _run_prefixes() -> NDArray[np.uint64]:
    """Return, for every length less one, its code, its further bits and how many they are (RFC 9649, 5.2.2)."""
    value = np.arange(_LONGEST_RUN)
    top = np.frexp(np.maximum(value, 1))[1] - 1
    bits = np.where(value < 4, 0, top - 1)
    code = np.where(value < 4, value, 2 * top + (value >> bits & 1))
    return np.stack([code, value & (1 << bits) - 1, bits]).astype(np.uint64)


_RUN_PREFIXES = _run_prefixes()


def _write_pixels(out: BitWriter, strips: Callable[[], Iterator[Words]], shifts: tuple[int, ...]) -> None:
    """Write the prefix codes and then the pixels, green first; colours that have no place in them are 0."""
    green, *others = shifts
    counts = [np.zeros(_VALUES + _RUN_CODES, np.int64), *(np.zeros(_VALUES, np.int64) for _ in others)]
    for tokens in map(_tokens, strips()):
        is_single = np.ones(tokens.pixels.size, bool)
        is_single[tokens.runs] = False
        single = tokens.pixels[is_single]
        for index, shift in enumerate(shifts):
            counts[index] += np.bincount(_symbols(single, shift), minlength=counts[index].size)
        counts[0] += np.bincount(_VALUES + tokens.codes, minlength=counts[0].size)
    out.write(0, 2)  # no cache of colours, and one set of codes for all
    lengths, codes = zip(*(_write_code(out, count) for count in counts), strict=True)
    for _ in range(4 - len(shifts)):
        _write_only_symbol(out, 0)
    _write_only_symbol(out, 1)  # every run repeats the pixel to its left
    for tokens in map(_tokens, strips()):
        symbols = _symbols(tokens.pixels, green)
        symbols[tokens.runs] = _VALUES + tokens.codes
        values, bits = codes[0][symbols], lengths[0][symbols]
        for shift, length, code in zip(others, lengths[1:], codes[1:], strict=True):
            if not length.any():
                continue
            symbols = _symbols(tokens.pixels, shift)
            more, more_bits = code[symbols], length[symbols]
            more[tokens.runs] = more_bits[tokens.runs] = 0
            values |= more << bits
            bits += more_bits
        values[tokens.runs] |= tokens.extra << bits[tokens.runs]
        bits[tokens.runs] += tokens.extra_bits
        out.write_all(values, bits)


def _write_code(out: BitWriter, counts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Make a prefix code and write its lengths. Returns lengths and codes; an only symbol takes no bits."""
    used = np.flatnonzero(counts)
    if used.size == 1:
        _write_only_symbol(out, int(used[0]))
        return np.zeros(counts.size, np.uint64), np.zeros(counts.size, np.uint64)
    lengths, codes = prefix_code(counts)
    out.write(0, 1)
    # Each length as 4 bits: itself a prefix code, in which 0 to 15 are equally likely.
    out.write(15, 4)
    for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15):
        out.write(4 if symbol < 16 else 0, 3)
    out.write(0, 1)
    for length in lengths:
        out.write(int(f"{int(length):04b}"[::-1], 2), 4)
    return lengths, codes


def _write_only_symbol(out: BitWriter, symbol: int) -> None:
    """Write a prefix code of one symbol, 0 to 255, which then takes no bits."""
    out.write(0b101 | symbol << 3, 11)

# SPDX-License-Identifier: Apache-2.0
"""A JPEG of many scans as one of a single scan, where that saves much of the memory to decode it.

A decoder holds 2 bytes of coefficient for every sample until the last scan, and the pixels beside them. Where the
coefficients are written to a file of one scan they are let go before there are pixels, and the pixels are the same.
"""

import mmap
from dataclasses import replace

from matting_gateway.domain import Buffer
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.libjpeg import write_baseline
from matting_gateway.imaging.plan import DecodePlan

# A photo with less takes little in any case, and a damaged one of no more never costs a process.
_LEAST_COEFFICIENT_BYTES = 8 << 20
# Beside the pixels they make 2.5 times those together: 4:4:4 and four components, not 4:2:2 and 4:2:0.
_LEAST_COEFFICIENTS_TO_PIXELS = 1.5
# What one scan may interleave (ITU-T T.81, B.2.3).
_MOST_MCU_BLOCKS = 10


def in_one_scan(content: Buffer, plan: DecodePlan) -> tuple[Buffer, DecodePlan]:
    """Return the file to decode, its colour profile included, and the plan for it.

    They are the ones given where another file would save little, or there is none that shows the same. May end the
    process, as `write_baseline` does.
    """
    header = plan.header
    if plan.reduction > 1 or not _is_worthwhile(header):
        return content, plan
    profile = b"".join(content[start:end] for start, end in header.profile_spans)
    room_bytes = _room_bytes(header)
    room = memoryview(mmap.mmap(-1, room_bytes + len(profile)))
    length = write_baseline(content, room[:room_bytes])
    if not length:
        return content, plan
    # Nobody looks for a picture behind its end.
    end = length + len(profile)
    room[length:end] = profile
    header = replace(header, scan_count=1, coefficient_bytes=0, profile_spans=((length, end),), file_bytes=end)
    return room[:end], replace(plan, header=header)


def _is_worthwhile(header: FileHeader) -> bool:
    if header.format is not ImageFormat.JPEG or header.mcu_blocks > _MOST_MCU_BLOCKS:
        return False
    pixel_bytes = 3 * header.width_px * header.height_px
    least_bytes = max(_LEAST_COEFFICIENT_BYTES, _LEAST_COEFFICIENTS_TO_PIXELS * pixel_bytes)
    return header.coefficient_bytes >= least_bytes and _room_bytes(header) <= pixel_bytes


def _room_bytes(header: FileHeader) -> int:
    """Return room for the new file: of a flat picture a block is a byte or two in it, and next to nothing before."""
    return 2 * header.file_bytes + header.coefficient_bytes // 64

# SPDX-License-Identifier: Apache-2.0
"""What can be set about privacy."""

from dataclasses import dataclass

from matting_gateway.options import option


@dataclass(frozen=True, slots=True)
class HardeningSettings:
    """What to try for. All of it is harmless; the switches are there to measure what each costs.

    `lock_memory` keeps pages from being swapped, `scrub_memory` has freed memory overwritten,
    `confine_files` takes away the right to write files.
    """

    lock_memory: bool = option(True, "--lock-memory", "Lock memory against swapping, where permitted.")
    scrub_memory: bool = option(True, "--scrub-memory", "Overwrite freed memory.")
    confine_files: bool = option(True, "--confine-files", "Give up the right to write files (Landlock).")

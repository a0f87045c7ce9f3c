# SPDX-License-Identifier: Apache-2.0
"""How long workers are busy with a photo, learned from those that they have done. Pure: no clock, no asyncio."""

from matting_gateway.imaging.photo_job import Step

_GAIN = 0.05  # what a photo counts among those before it


class StepTimes:
    """The mean time of each step of late. Owns the means, and how many photos they are of."""

    __slots__ = ("_counts", "_means_s")

    def __init__(self) -> None:
        self._means_s = dict.fromkeys(Step, 0.0)
        self._counts = dict.fromkeys(Step, 0)

    def note(self, step: Step, seconds: float) -> None:
        """Learn of one step that was done, or given up: a worker was busy with it for so long."""
        self._counts[step] += 1
        self._means_s[step] += max(_GAIN, 1 / self._counts[step]) * (seconds - self._means_s[step])

    @property
    def photo_s(self) -> float:
        """Seconds of one worker for all steps of a photo; 0.0 while none was done."""
        return sum(self._means_s.values())

    def __repr__(self) -> str:
        return f"<StepTimes {', '.join(f'{step.name} {mean_s:.3f} s' for step, mean_s in self._means_s.items())}>"

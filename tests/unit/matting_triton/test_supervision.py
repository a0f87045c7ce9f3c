# SPDX-License-Identifier: Apache-2.0
"""How long to wait before a restart, and how a dead child is told from a reaped one."""

import os
import subprocess

import psutil
from matting_triton.backoff import Backoff
from matting_triton.stubs import children_of, is_zombie_of


def test_waits_grow_up_to_a_bound() -> None:
    backoff = Backoff(initial_s=0.5, factor=2.0, max_s=3.0)
    assert [backoff.delay_s(deaths) for deaths in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.delay_s(1_000_000) == 3.0


def test_a_dead_child_is_a_zombie_until_it_is_reaped() -> None:
    me = psutil.Process().pid
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in children_of(me)
        child.kill()
        # Waits for the end without reaping.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_zombie_of(child.pid, me)
        assert child.pid in children_of(me)
    assert not is_zombie_of(child.pid, me)

# SPDX-License-Identifier: Apache-2.0
"""A local Triton from its package, for people without one.

`ensure_runtime` installs it, `LocalTriton` runs it, `TritonSupervisor` keeps it running.
"""

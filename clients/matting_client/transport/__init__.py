# SPDX-License-Identifier: Apache-2.0
"""Connections, calls, retries and errors, which the blocking and the asyncio client share."""

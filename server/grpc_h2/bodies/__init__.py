# SPDX-License-Identifier: Apache-2.0
"""Messages put together from a call's body, each in one place, and what of them is held.

May import `http2`.
"""

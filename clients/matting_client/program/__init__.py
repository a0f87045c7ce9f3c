# SPDX-License-Identifier: Apache-2.0
"""The program `matting`.

May import the library; the library imports nothing of it.
"""

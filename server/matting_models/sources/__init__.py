# SPDX-License-Identifier: Apache-2.0
"""Where models, wheels and photos come from, pinned by hash.

May import `recipes`.
"""

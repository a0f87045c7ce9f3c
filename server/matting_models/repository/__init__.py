# SPDX-License-Identifier: Apache-2.0
"""The model repository on disk, and `config.pbtxt` in it.

May import `recipes` and `sources`.
"""

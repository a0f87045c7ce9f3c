# SPDX-License-Identifier: Apache-2.0
"""Fakes and helpers that tests share."""

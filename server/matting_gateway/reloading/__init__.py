# SPDX-License-Identifier: Apache-2.0
"""Certificates and tenants that change on disk, read again."""

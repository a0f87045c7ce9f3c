# SPDX-License-Identifier: Apache-2.0
"""Frames and header blocks as bytes (RFC 9113, RFC 7541). Pure."""

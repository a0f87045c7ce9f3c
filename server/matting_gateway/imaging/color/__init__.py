# SPDX-License-Identifier: Apache-2.0
"""Samples and colour profiles, between decoders and writers. Runs in imaging workers alone."""

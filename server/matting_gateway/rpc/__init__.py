# SPDX-License-Identifier: Apache-2.0
"""The doors: gRPC in, gRPC out. The only room that knows the wire of callers."""

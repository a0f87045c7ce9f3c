# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as gRPC needs it, both sides: streams, windows, what one connection may cost (RFC 9113).

May import `wire`; knows nothing of gRPC.
"""

# SPDX-License-Identifier: Apache-2.0
"""gRPC over HTTP/2 on asyncio, server and client.

Knows nothing of matting, and imports nothing of the gateway: grpcio, hpack, numpy and the standard library.
"""

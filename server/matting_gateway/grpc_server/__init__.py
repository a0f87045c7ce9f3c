# SPDX-License-Identifier: Apache-2.0
"""gRPC over HTTP/2, the server's side, with the handlers, contexts and interceptors of `grpc.aio`."""

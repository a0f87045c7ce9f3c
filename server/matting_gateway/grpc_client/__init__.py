# SPDX-License-Identifier: Apache-2.0
"""gRPC over HTTP/2, the client's side: unary calls of one method, with the errors of `grpc.aio`."""

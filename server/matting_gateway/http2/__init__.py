# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as a server of gRPC needs it: frames, header blocks, windows, streams. Knows nothing of gRPC."""

# SPDX-License-Identifier: Apache-2.0
"""The protocol's RPCs about shared memory: of callers on the same host, and of GPUs, which is not served."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from matting_gateway.errors import OptionUnsupportedError
from matting_gateway.rpc.boundary.call_info import current_call
from matting_gateway.rpc.tensor.client_memory import ClientMemory


def memory_handlers(memory: ClientMemory) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Return the handlers, by name of the RPC. Asking for a status and unregistering always work."""

    async def status(
        request: pb.SystemSharedMemoryStatusRequest, _context: object
    ) -> pb.SystemSharedMemoryStatusResponse:
        answer = pb.SystemSharedMemoryStatusResponse()
        for region in memory.regions(current_call().tenant.name, request.name):
            entry = answer.regions[region.name]
            entry.name, entry.key = region.name, region.key
            entry.offset, entry.byte_size = region.offset_bytes, region.length_bytes
        return answer

    async def register(
        request: pb.SystemSharedMemoryRegisterRequest, _context: object
    ) -> pb.SystemSharedMemoryRegisterResponse:
        memory.register(current_call().tenant.name, request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def unregister(
        request: pb.SystemSharedMemoryUnregisterRequest, _context: object
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        memory.unregister(current_call().tenant.name, request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(_request: object, _context: object) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def cuda_register(_request: object, _context: object) -> pb.CudaSharedMemoryRegisterResponse:
        raise OptionUnsupportedError("CUDA shared memory is not served by the gateway; send tensors in the message.")

    async def cuda_unregister(_request: object, _context: object) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    return {
        "SystemSharedMemoryStatus": _unary(status, pb.SystemSharedMemoryStatusRequest),
        "SystemSharedMemoryRegister": _unary(register, pb.SystemSharedMemoryRegisterRequest),
        "SystemSharedMemoryUnregister": _unary(unregister, pb.SystemSharedMemoryUnregisterRequest),
        "CudaSharedMemoryStatus": _unary(cuda_status, pb.CudaSharedMemoryStatusRequest),
        "CudaSharedMemoryRegister": _unary(cuda_register, pb.CudaSharedMemoryRegisterRequest),
        "CudaSharedMemoryUnregister": _unary(cuda_unregister, pb.CudaSharedMemoryUnregisterRequest),
    }


def _unary(behaviour: Any, request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, lambda answer: answer.SerializeToString())

# SPDX-License-Identifier: Apache-2.0
"""Calls that go to a Triton as they came: what only the model's own server can understand.

Sequences, decoupled models, parameters of a model's own, and questions about models. They are
never batched here.
"""

import hashlib
from collections.abc import Callable, Sequence

import grpc

from matting_gateway.errors import BackendUnavailableError, ModelNotFoundError
from matting_gateway.triton.pool.endpoint import Endpoint

SERVICE_PREFIX = "/inference.GRPCInferenceService/"


class Passthrough:
    """Passes calls on. Owns nothing; `endpoints` tells who is there."""

    def __init__(self, endpoints: Callable[[], Sequence[Endpoint]]) -> None:
        self._endpoints = endpoints

    async def forward(
        self, method: str, request: bytes, *, model: str, timeout_s: float, affinity: str = "", traceparent: str = ""
    ) -> bytes:
        """Return one backend's answer.

        Args:
            method: Name of a unary RPC of the inference service.
            request: The message as it came.
            model: The model it is about.
            timeout_s: How long the backend may take.
            affinity: Calls with the same one go to the same backend as long as it is there; without
                one, a call whose backend goes away is tried once on another.
            traceparent: What the backend is told of the trace that the call is part of, if any.

        Raises:
            ModelNotFoundError: No backend has the model.
            BackendUnavailableError: None that has it can be reached.
            ModelFailedError: The backend's own refusal.
        """
        first, *others = self._candidates(model, affinity)
        used = model if method == "ModelInfer" else ""
        try:
            return await first.forward(SERVICE_PREFIX + method, request, timeout_s, model=used, traceparent=traceparent)
        except BackendUnavailableError:
            if affinity or not others:
                raise
        return await others[0].forward(SERVICE_PREFIX + method, request, timeout_s, model=used, traceparent=traceparent)

    async def forward_to_all(
        self, method: str, request: bytes, *, timeout_s: float, traceparent: str = ""
    ) -> list[bytes]:
        """Return the answers of all backends that can be reached.

        Raises:
            BackendUnavailableError: There is none.
            ModelFailedError: A backend's own refusal.
        """
        answers = []
        for endpoint in self._endpoints():
            if endpoint.healthy:
                try:
                    answers.append(
                        await endpoint.forward(SERVICE_PREFIX + method, request, timeout_s, traceparent=traceparent)
                    )
                except BackendUnavailableError:
                    continue
        if not answers:
            raise BackendUnavailableError("No backend can be reached now; try again.", retry_after_s=1.0)
        return answers

    def open_stream(
        self, *, model: str, affinity: str = "", traceparent: str = ""
    ) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
        """Open ModelStreamInfer to a backend that has the model.

        Raises:
            ModelNotFoundError: No backend has it.
            BackendUnavailableError: None that has it can be reached.
        """
        endpoint = self._candidates(model, affinity)[0]
        return endpoint.open_stream(SERVICE_PREFIX + "ModelStreamInfer", model=model, traceparent=traceparent)

    def _candidates(self, model: str, affinity: str) -> list[Endpoint]:
        """Return the backends that serve the model, the best first: the least busy, or by rendezvous hashing."""
        having = [endpoint for endpoint in self._endpoints() if model in endpoint.models]
        if not having and any(endpoint.healthy for endpoint in self._endpoints()):
            raise ModelNotFoundError(f"Request for unknown model: '{model}' is not found")
        serving = [endpoint for endpoint in having if endpoint.healthy]
        if not serving:
            raise BackendUnavailableError("No backend can serve the model now; try again.", retry_after_s=1.0)
        if affinity:
            return sorted(serving, key=lambda e: hashlib.blake2b(f"{affinity} {e.address.label}".encode()).digest())
        return sorted(serving, key=lambda endpoint: endpoint.in_flight)

# SPDX-License-Identifier: Apache-2.0
"""The real program under a hostile caller: what an honest one sees meanwhile, and what is left afterwards."""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from tritonclient.grpc import model_config_pb2, service_pb2

from testkit.fake_triton import FakeModel, FakeTriton, uint8
from testkit.program import Service, running_service

_SIDE_PX = 32
# After the attacker has gone: everything is given back, and then the memory.
_GIVEN_BACK_S = 2.0
_MEMORY_BACK_S = 3.0
_PHOTO_DEADLINE_S = 10.0
_PAUSE_S = 0.02


def photo_model() -> FakeModel:
    """Return a model for photos that calls everything the subject."""
    config = model_config_pb2.ModelConfig(
        name="u2net",
        backend="python",
        max_batch_size=4,
        input=[uint8("image", (_SIDE_PX, _SIDE_PX, 3), "input")],
        output=[uint8("alpha", (_SIDE_PX, _SIDE_PX), "output")],
        parameters={"matting_fit": model_config_pb2.ModelParameter(string_value="stretch")},
        instance_group=[
            model_config_pb2.ModelInstanceGroup(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        ],
    )

    async def opaque(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        rows = request.inputs[0].shape[0]
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        response.outputs.add(name="alpha", datatype="UINT8", shape=(rows, _SIDE_PX, _SIDE_PX))
        response.raw_output_contents.append(b"\xff" * (rows * _SIDE_PX**2))
        return response

    return FakeModel(config, opaque)


@dataclass
class Siege:
    """What was seen. Latencies in seconds, of the honest caller's health checks and photos that were served."""

    sent: Counter[str] = field(default_factory=Counter)
    health_s: list[float] = field(default_factory=list)
    photo_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    before_bytes: int = 0
    most_bytes: int = 0
    after_bytes: int = 0
    left: dict[str, float] = field(default_factory=dict)
    # What the program said of its backend meanwhile.
    backend: list[str] = field(default_factory=list)

    @property
    def frame_count(self) -> int:
        return self.sent.total() - self.sent["connection"]

    def problems(self, *, health_p99_s: float, grown_bytes: int, kept_bytes: int) -> list[str]:
        """Return what was not as it should be."""
        found = [f"{name} is {value:g} 2 s after the attacker has gone" for name, value in self.left.items() if value]
        found += [
            f"{count} honest calls ended in {told}"
            for told, count in self.codes.items()
            if not told.startswith(("OK", "RESOURCE_EXHAUSTED"))
        ]
        if quantile(self.health_s, 0.99) > health_p99_s:
            found.append(f"an honest health check took {quantile(self.health_s, 0.99):.3f} s (p99)")
        if self.most_bytes - self.before_bytes > grown_bytes:
            found.append(f"memory grew by {self.most_bytes - self.before_bytes >> 20} MiB")
        if self.after_bytes - self.before_bytes > kept_bytes:
            found.append(f"{self.after_bytes - self.before_bytes >> 20} MiB stayed")
        return found

    def __str__(self) -> str:
        return (
            f"{self.frame_count:,} frames over {self.sent['connection']:,} connections; honest health check p50"
            f" {quantile(self.health_s, 0.5) * 1e3:.1f} ms, p99 {quantile(self.health_s, 0.99) * 1e3:.1f} ms, worst"
            f" {max(self.health_s) * 1e3:.1f} ms; honest photo p50 {quantile(self.photo_s, 0.5) * 1e3:.1f} ms, p99"
            f" {quantile(self.photo_s, 0.99) * 1e3:.1f} ms; {dict(self.codes)}; memory {self.before_bytes >> 20} MiB,"
            f" at most +{self.most_bytes - self.before_bytes >> 20}, afterwards"
            f" {self.after_bytes - self.before_bytes >> 20:+}; left {self.left}; {self.backend}"
        )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


async def besiege(*, seed: int, most_frames: int, seconds: float) -> Siege:
    """Run the program, an honest caller and a hostile one; return what was seen."""
    siege = Siege()
    async with FakeTriton(photo_model()) as triton, running_service("--triton", triton.address) as service:
        for _ in range(20):  # the first calls start decoders and fill pools
            await _one_photo(service, siege)
        siege.codes.clear()
        siege.photo_s.clear()
        open_before = await _open_now(service)
        siege.before_bytes = siege.most_bytes = _resident_bytes(service)
        attacker = await asyncio.create_subprocess_exec(
            "nice", "-n", "10", sys.executable, "-m", "testkit.wire_fuzz", service.address,
            "--seed", str(seed), "--frames", str(most_frames), "--seconds", str(seconds),
            cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        honest = asyncio.ensure_future(_call_honestly(service, siege))
        said, _ = await attacker.communicate()
        siege.sent = Counter(json.loads(said))
        honest.cancel()
        await asyncio.gather(honest, return_exceptions=True)
        await asyncio.sleep(_GIVEN_BACK_S)
        open_after = await _open_now(service)
        siege.left = {name: max(0.0, open_after[name] - open_before[name]) for name in open_after}
        await asyncio.sleep(_MEMORY_BACK_S)
        siege.after_bytes = _resident_bytes(service)
        siege.backend = [
            f"{event['event']}: {event.get('detail', '')}"
            for event in service.events
            if event["event"].startswith("backend_d") or "bug" in event["event"]
        ]
    return siege


async def _call_honestly(service: Service, siege: Siege) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    while True:
        since_s = time.perf_counter()
        await health.Check(health_pb2.HealthCheckRequest(), timeout=_PHOTO_DEADLINE_S)
        siege.health_s.append(time.perf_counter() - since_s)
        await _one_photo(service, siege)
        siege.most_bytes = max(siege.most_bytes, _resident_bytes(service))
        await asyncio.sleep(_PAUSE_S)


def _resident_bytes(service: Service) -> int:
    """Return what the gateway's own process holds; its decoders hold nothing of a call that was not let in."""
    return int(psutil.Process(service.process.pid).memory_info().rss)


async def _one_photo(service: Service, siege: Siege) -> None:
    pixels = pb.PixelImage(
        data=bytes(_SIDE_PX * _SIDE_PX * 3), width_px=_SIDE_PX, height_px=_SIDE_PX, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    request = pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())])
    metadata = (
        ("x-matting-request-bytes", str(request.ByteSize())),
        ("x-matting-pixels", str(_SIDE_PX * _SIDE_PX)),
    )
    since_s = time.perf_counter()
    try:
        await service.stub.RemoveBackground(request, timeout=_PHOTO_DEADLINE_S, metadata=metadata)
    except grpc.aio.AioRpcError as exc:
        siege.codes[f"{exc.code().name}: {exc.details()}"] += 1
    else:
        siege.codes["OK"] += 1
        siege.photo_s.append(time.perf_counter() - since_s)


async def _open_now(service: Service) -> dict[str, float]:
    """Return what is open or held now, as /metrics says."""
    samples = await service.metrics()

    def total(name: str) -> float:
        return sum(value for (found, _), value in samples.items() if found == name)

    return {
        "matting_resident_images": total("matting_resident_images"),
        "matting_resident_bytes": total("matting_resident_bytes"),
        "matting_queue_depth": total("matting_queue_depth"),
        "matting_connections": total("matting_connections"),
        "calls in progress": total("grpc_server_started_total") - total("grpc_server_handled_total"),
    }

# SPDX-License-Identifier: Apache-2.0
"""One tenant at ten times its share, another within its own: `python tests/bench/tenant_fairness.py` prints Markdown.

Interleaved pairs of runs, on a real Triton whose model takes 100 ms and 25 ms a row (8 rows in
300 ms, so 26.7 rows a second); Poisson arrivals, deadlines of 1.5 s. Goodput is what is answered
in time of what is offered.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from privacy_proof.service import Service, started_service
from testkit.local_triton import CACHE_DIR, copy_models
from tritonclient.grpc import service_pb2, service_pb2_grpc

CAPACITY_PER_S = 8 / 0.3
SHARE_PER_S = CAPACITY_PER_S / 2
DEADLINE_S = 1.5


def repository(folder: Path) -> Path:
    config = copy_models(["delay"], folder) / "delay" / "config.pbtxt"
    config.write_text(config.read_text().replace('"20"', '"100"').replace('"5"', '"25"'))
    return folder


def tenants(folder: Path) -> Path:
    path = folder / "tenants.toml"
    path.write_text(
        "".join(
            f'[[tenant]]\nname = "{name}"\ntoken_sha256 = ["{hashlib.sha256(name.encode()).hexdigest()}"]\n'
            for name in ("greedy", "modest")
        )
    )
    return path


async def offer(channel: grpc.aio.Channel, tenant: str, rate_per_s: float, duration_s: float, seed: int) -> float:
    """Offer calls, and return the part of them that was answered in time."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    request = service_pb2.ModelInferRequest(model_name="delay", raw_input_contents=[bytes(8)])
    request.inputs.add(name="row", datatype="UINT8", shape=[1, 8])
    metadata = (("authorization", f"Bearer {tenant}"),)

    async def call() -> bool:
        try:
            await stub.ModelInfer(request, timeout=DEADLINE_S, metadata=metadata)
        except grpc.aio.AioRpcError:
            return False
        return True

    arrivals, at_s, dice = [], 0.0, random.Random(seed)
    while (at_s := at_s + dice.expovariate(rate_per_s)) < duration_s:
        arrivals.append(at_s)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    calls = []
    for at_s in arrivals:
        await asyncio.sleep(began_s + at_s - loop.time())
        calls.append(asyncio.create_task(call()))
    answered = await asyncio.gather(*calls)
    return sum(answered) / len(answered)


async def run(service: Service, *, greedy: bool, duration_s: float, seed: int) -> tuple[float, float]:
    """Return the goodput of the modest tenant and of the greedy one (0 where it is not there)."""
    async with service.channel() as first, service.channel() as second:
        modest = offer(first, "modest", 0.7 * SHARE_PER_S, duration_s, seed)
        if not greedy:
            return await modest, 0.0
        results = await asyncio.gather(modest, offer(second, "greedy", 10 * SHARE_PER_S, duration_s, seed + 1))
        return results[0], results[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "models").mkdir()
        with (
            LocalTriton(ensure_runtime(CACHE_DIR), repository(root / "models"), grace_s=0) as triton,
            started_service(
                *("--triton", triton.grpc_address, "--default-model", "delay", "--tenants", str(tenants(root)))
            ) as service,
        ):
            asyncio.run(run(service, greedy=False, duration_s=10, seed=99))  # the gateway learns the model's latency
            pairs = []
            sys.stdout.write("| pair | modest alone | modest beside greedy | ratio | greedy |\n|---|---|---|---|---|\n")
            for pair in range(given.pairs):
                beside = pair % 2 == 0  # who goes first changes, so that drift favours neither
                outcome = {}
                for greedy in (beside, not beside):
                    outcome[greedy] = asyncio.run(
                        run(service, greedy=greedy, duration_s=given.seconds, seed=1000 * pair)
                    )
                alone, together, other = outcome[False][0], outcome[True][0], outcome[True][1]
                pairs.append(together / alone)
                sys.stdout.write(f"| {pair} | {alone:.3f} | {together:.3f} | {pairs[-1]:.3f} | {other:.3f} |\n")
                sys.stdout.flush()
    sys.stdout.write(f"\nmedian ratio {median(pairs):.3f}, least {min(pairs):.3f}\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""`make run`: starts the service as a user would, cuts out a real photo through it, and serves on.

The service is the program `matting-gateway` beside this interpreter.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from matting_client.client import Client
from matting_client.errors import MattingError
from matting_client.photos import OutputSpec
from matting_client.transport.health import wait_serving

DEFAULT_PHOTO = Path(".cache/samples/astronaut.png")
START_TIMEOUT_S = 300.0


def main(arguments: list[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    options = _arguments(arguments)
    say(f"Starting Triton and the gateway on {options.listen} ...")
    begun_s = time.monotonic()
    with _service(options.listen, options.metrics_listen) as service:
        if not wait_serving(options.listen, timeout_s=START_TIMEOUT_S, alive=lambda: service.poll() is None):
            say("The gateway did not come up; its own words are above.")
            return 1
        say(f"Serving after {time.monotonic() - begun_s:.1f} s.\n")
        try:
            _cut_out(options.listen, options.photo, options.out)
        except (MattingError, OSError) as exc:
            say(f"error: {exc}")
            return 1
        if options.once:
            return 0
        _tell_what_next(options)
        with contextlib.suppress(KeyboardInterrupt):
            service.wait()
    return 0


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)  # noqa: T201 - this is a program


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m matting_client.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the first cutout")
    parser.add_argument("--photo", type=Path, default=DEFAULT_PHOTO)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--listen", default="127.0.0.1:50051")
    parser.add_argument("--metrics-listen", default="127.0.0.1:9464")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _service(listen: str, metrics_listen: str) -> Iterator["subprocess.Popen[bytes]"]:
    program = Path(sys.executable).with_name("matting-gateway")
    command = [str(program), "serve", "--listen", listen, "--metrics-listen", metrics_listen]
    # Its log lines on standard output are for machines; messages for people are on standard error.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _cut_out(address: str, photo: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    content = photo.read_bytes()
    with Client(address) as client:
        begun_s = time.monotonic()
        answer = client.remove_background(content, [OutputSpec(kind="alpha"), OutputSpec(kind="cutout")], timeout_s=60)
        total_s = time.monotonic() - begun_s
        for kind, output in zip(("alpha", "cutout"), answer.outputs, strict=True):
            path = out / f"{photo.stem}-{kind}.png"
            output.save(path)
            say(f"  {path}  {output.width_px}x{output.height_px}, {len(output.content) / 1000:.0f} kB")
    timings = answer.timings
    say(
        f"\n{photo.name} by {answer.model}: {total_s * 1000:.0f} ms in all, of which the model"
        f" {timings.inference_s * 1000:.0f} ms and waiting for it {timings.queue_s * 1000:.0f} ms."
        f"\nThe subject covers {answer.subject.area_share:.0%} of the photo."
    )
    receipt = answer.receipt
    if receipt is not None:
        say(f"The photo was held for {receipt.held_s * 1000:.0f} ms and released.")


def _tell_what_next(options: argparse.Namespace) -> None:
    say(
        f"""
It serves until Ctrl-C. In another terminal:

  .venv/bin/matting cutout YOUR-PHOTO.jpg -o out/      cut out your own photos
  .venv/bin/matting policy                             what the service does with data
  .venv/bin/matting-load --help                        load-test it
  curl http://{options.metrics_listen}/metrics                throughput, latency, batch sizes
"""
    )


if __name__ == "__main__":
    sys.exit(main())

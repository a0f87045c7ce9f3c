# SPDX-License-Identifier: Apache-2.0
"""`make run`: starts the service as a user would, cuts out a real photo through it, and serves on.

The service is the program `matting-gateway` beside this interpreter.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from matting_client.client import Client
from matting_client.errors import MattingError
from matting_client.photos import OutputSpec
from matting_client.transport.health import wait_serving

DEFAULT_PHOTO = Path(".cache/samples/astronaut.png")
START_TIMEOUT_S = 300.0


@click.command(help=__doc__)
@click.option("--once", is_flag=True, help="Stop after the first cutout.")
@click.option("--photo", type=click.Path(path_type=Path), default=DEFAULT_PHOTO, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out"), show_default=True)
@click.option("--listen", default="127.0.0.1:50051", show_default=True)
@click.option("--metrics-listen", default="127.0.0.1:9464", show_default=True)
def main(once: bool, photo: Path, out: Path, listen: str, metrics_listen: str) -> None:
    """Run the demonstration."""
    click.echo(f"Starting Triton and the gateway on {listen} ...")
    begun_s = time.monotonic()
    with _service(listen, metrics_listen) as service:
        if not wait_serving(listen, timeout_s=START_TIMEOUT_S, alive=lambda: service.poll() is None):
            raise click.ClickException("the gateway did not come up; its own words are above")
        click.echo(f"Serving after {time.monotonic() - begun_s:.1f} s.\n")
        try:
            _cut_out(listen, photo, out)
        except (MattingError, OSError) as exc:
            raise click.ClickException(str(exc)) from exc
        if not once:
            _tell_what_next(metrics_listen)
            with contextlib.suppress(KeyboardInterrupt):
                service.wait()


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
            click.echo(f"  {path}  {output.width_px}x{output.height_px}, {len(output.content) / 1000:.0f} kB")
    timings = answer.timings
    click.echo(
        f"\n{photo.name} by {answer.model}: {total_s * 1000:.0f} ms in all, of which the model"
        f" {timings.inference_s * 1000:.0f} ms and waiting for it {timings.queue_s * 1000:.0f} ms."
        f"\nThe subject covers {answer.subject.area_share:.0%} of the photo."
    )
    receipt = answer.receipt
    if receipt is not None:
        click.echo(f"The photo was held for {receipt.held_s * 1000:.0f} ms and released.")


def _tell_what_next(metrics_listen: str) -> None:
    click.echo(
        f"""
It serves until Ctrl-C. In another terminal:

  .venv/bin/matting cutout YOUR-PHOTO.jpg -o out/      cut out your own photos
  .venv/bin/matting policy                             what the service does with data
  .venv/bin/matting-load --help                        load-test it
  curl http://{metrics_listen}/metrics                throughput, latency, batch sizes
"""
    )


if __name__ == "__main__":
    main()

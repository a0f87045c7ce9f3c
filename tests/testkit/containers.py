# SPDX-License-Identifier: Apache-2.0
"""Images built and containers run as root without a daemon: mmdebstrap, buildah, and the kernel's own namespaces.

Containers of a `Pod` share a network that has a loopback interface alone, as in a pod of Kubernetes.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from testkit.deploy_tools import DEPLOY, ROOT

_PROGRAMS = ("buildah", "mmdebstrap", "unshare", "nsenter", "mount", "ip")
_INIT = Path(__file__).with_name("container_init.py")
# Those of an installer's settings that make sense inside of a build.
_PIP_KEYS = ("index-url", "extra-index-url", "proxy", "trusted-host", "timeout")


def require_container_tools() -> None:
    """Skip the test where no container can be built or run, and say why."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"not installed: {', '.join(missing)} (Debian's packages buildah, mmdebstrap, util-linux, iproute2)"
        )
    if os.geteuid() != 0:
        pytest.skip("containers are built and run as root here")
    if apt_sources() is None:
        pytest.skip("this machine has no apt sources to make a base image from")


def apt_sources() -> Path | None:
    """Return the file that names the distribution's own packages."""
    folder = Path("/etc/apt")
    candidates = (
        folder / "sources.list.d/debian.sources",
        folder / "sources.list.d/ubuntu.sources",
        folder / "sources.list",
    )
    return next((path for path in candidates if path.is_file() and path.stat().st_size), None)


@dataclass(frozen=True)
class Image:
    """A built image, unpacked.

    Attributes:
        root: Its files.
        size_bytes: Of all its files together.
        config: As the builder wrote it: Entrypoint, Cmd, Env, User, Healthcheck, Labels.
    """

    root: Path
    size_bytes: int
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    @property
    def user(self) -> int:
        return int(self.config["User"].split(":")[0])


class Builder:
    """An image store of its own in a folder, which is the caller's to remove."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def base(self) -> str:
        """Make an image of the machine's own distribution with its Python, and return its name."""
        system = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
        version = subprocess.check_output(
            ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        )
        tar, sources = self._folder / "base.tar", apt_sources()
        with (sources or Path(os.devnull)).open("rb") as given:
            self._run(
                *("mmdebstrap", "--variant=minbase", f"--include=python3-venv,libpython{version.decode().strip()}"),
                *(system["VERSION_CODENAME"].strip('"'), str(tar), "-"),
                stdin=given,
            )
        containerfile = self._folder / "Containerfile"
        containerfile.write_text(f"FROM scratch\nADD {tar.name} /\n")
        self._buildah("bud", "--quiet", "--isolation", "chroot", "--tag", "localhost/base", str(self._folder))
        tar.unlink()
        return "localhost/base"

    def build(self, base: str, *, target: str = "") -> Image:
        """Build the project's own Containerfile on a base image."""
        name = f"localhost/matting-{target or 'gateway'}"
        self._buildah(
            *("bud", "--format", "docker", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={base}"),
            *self._pip_settings(),
            *("--tag", name, *(("--target", target) if target else ())),
            *("--file", str(DEPLOY / "container" / "Containerfile"), str(ROOT)),
        )
        found = json.loads(self._buildah("inspect", "--type", "image", name))
        container = self._buildah("from", "--pull-never", name).strip()
        root = Path(self._buildah("mount", container).strip())
        size_bytes = sum(file.lstat().st_size for file in root.rglob("*") if file.is_file() or file.is_symlink())
        return Image(root, size_bytes, found["Docker"]["config"])

    def _pip_settings(self) -> list[str]:
        """Return what lets pip find packages inside of the build as it does outside, and stays out of the image."""
        listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
        settings: dict[str, str] = {}
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            settings[name.split(".")[-1].strip(":")] = value.strip("'\"")
        kept = [f"{key} = {settings[key]}" for key in _PIP_KEYS if key in settings and "file:" not in settings[key]]
        volumes = []
        if "cert" in settings:
            kept.append("cert = /etc/pip-certificates.pem")
            volumes += ["--volume", f"{settings['cert']}:/etc/pip-certificates.pem:ro"]
        file = self._folder / "pip.conf"
        file.write_text("\n".join(["[global]", *kept, ""]))
        return [*volumes, "--volume", f"{file}:/etc/pip.conf:ro"]

    def _buildah(self, *arguments: str) -> str:
        store = (
            "--root",
            str(self._folder / "store"),
            "--runroot",
            str(self._folder / "run"),
            "--storage-driver",
            "vfs",
        )
        return self._run("buildah", *store, *arguments)

    def _run(self, *command: str, stdin: Any = subprocess.DEVNULL) -> str:
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=1800)
        if done.returncode:
            pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout


class Container:
    """A program that runs in an image: `process` is the host's view of it, its output piped."""

    def __init__(self, image: Image, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self._image, self.process, self._environment = image, process, environment

    def events(self, name: str) -> dict[str, Any]:
        """Read its log up to the next line of that event, and return it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        pytest.fail(f"the container ended with {self.process.wait()} before it said {name!r}")

    @property
    def host_pid(self) -> int:
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another program inside, as the image's user."""
        user = str(self._image.user)
        entered = (
            "nsenter",
            "--target",
            str(self.host_pid),
            "--mount",
            "--pid",
            "--ipc",
            "--net",
            "--root",
            "--wdns=/",
        )
        return subprocess.run(
            [*entered, "--setuid", user, "--setgid", user, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stop(self) -> int:
        """Send SIGTERM, as every runtime does, and return the exit code."""
        os.kill(self.host_pid, 15)
        self.process.communicate(timeout=60)
        return self.process.returncode


class Pod:
    """A network of its own, with loopback alone."""

    def __init__(self, pid: int) -> None:
        self._enter = ("nsenter", "--target", str(pid), "--net", "--")

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program of the host's in this network."""
        return subprocess.Popen([*self._enter, *command], text=True, **options)

    @contextmanager
    def container(
        self, image: Image, *, volumes: dict[str, Path] | None = None, **environment: str
    ) -> Iterator[Container]:
        """Run an image as its own configuration says, until the end of the block at the latest."""
        variables = image.environment | environment
        for inside in volumes or {}:
            (image.root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        description = {
            "root": str(image.root),
            "user": image.user,
            "volumes": {inside: str(outside) for inside, outside in (volumes or {}).items()},
            "environment": variables,
            "arguments": [*image.config["Entrypoint"], *image.config["Cmd"]],
        }
        unshare = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--")
        process = self.start(*(*unshare, sys.executable, str(_INIT), json.dumps(description)), stdout=subprocess.PIPE)
        try:
            yield Container(image, process, variables)
        finally:
            # The program first: it has another user than `unshare`, whose end it would not notice.
            for child in psutil.Process(process.pid).children() if process.poll() is None else ():
                child.kill()
            process.kill()
            process.wait()


@contextmanager
def pod() -> Iterator[Pod]:
    """Yield a network until the end of the block."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            yield Pod(holder.pid)
        finally:
            holder.kill()

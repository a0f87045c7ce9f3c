# SPDX-License-Identifier: Apache-2.0
"""Where the parts of an installed Triton lie, and the environment they run in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Runtime:
    """A complete local Triton.

    Attributes:
        root: Folder that holds all of it; relocatable.
        libpython_folder: Folder of the shared libpython that the Python backend loads.
    """

    root: Path
    libpython_folder: Path

    @property
    def tritonserver(self) -> Path:
        return self.root / "server" / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def bundled_libraries(self) -> Path:
        return self.root / "server" / "nvidia_pytriton.libs"

    @property
    def backends(self) -> Path:
        return self.root / "backends"

    @property
    def environment_folder(self) -> Path:
        """The Python environment in which models written in Python run."""
        return self.root / "python"

    def is_complete(self) -> bool:
        """Whether everything that is needed to start is in place."""
        packages = self.environment_folder / "lib"
        return (
            self.tritonserver.is_file()
            and self.bundled_libraries.is_dir()
            and (self.backends / "python" / "triton_python_backend_stub").is_file()
            and (self.environment_folder / "bin" / "python3").exists()
            and all(
                any(packages.glob(f"python3.*/site-packages/{name}/__init__.py"))
                for name in ("numpy", "onnxruntime", "openvino")
            )
        )

    def process_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of the Triton process: nothing is inherited by accident.

        The stub that runs Python models finds its environment through the first `python3` on PATH.
        """
        libraries = [str(self.bundled_libraries), str(self.libpython_folder)]
        if inherited := extra.get("LD_LIBRARY_PATH"):
            libraries.append(inherited)
        return {
            "PATH": f"{self.environment_folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            **extra,
            # Switches off onnxruntime's telemetry, which reports every session and keeps a database for that.
            "ORT_DISABLE_TELEMETRY": "1",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }

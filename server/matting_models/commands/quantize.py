# SPDX-License-Identifier: Apache-2.0
"""`models quantize`: NAME to NAME-int8, with a report of speed and difference for each photo."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx

from matting_models.errors import QuantizationError
from matting_models.quantization.calibration import calibration_pictures
from matting_models.quantization.int8 import IN_F32, Bound, to_int8
from matting_models.repository.config import SIDE_BY_SIDE, Accelerator
from matting_models.repository.config_reader import read_config
from matting_models.repository.entry import settle_config
from matting_models.repository.origin import read_origin, write_origin
from matting_models.repository.repository import ONNX_FILE, Repository
from matting_models.sources.fetch import Say, link_or_copy, replacing, sha256_of
from matting_models.trials.engines import OpenVinoRunner, Pixels
from matting_models.trials.pictures import at_size, open_photo
from matting_models.trials.report import Column, table, write_json, write_page
from matting_models.trials.trial import mean_difference

# Makes an int8 form from photos, checked on some of them by index; gives its graph and differences.
_Quantise: TypeAlias = Callable[[Sequence[Path], Sequence[int], Bound], tuple[onnx.ModelProto, list[float]]]

# Part of the key of a cached result, and kept in origin.json: raise it when the same input gives another result.
METHOD_VERSION = 4


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """What is asked of `models quantize`.

    `fold_count` 0 checks the bound on the calibration photos themselves; 2 or more also tries it on photos left out,
    in so many rounds.
    """

    name: str
    photos: tuple[Path, ...]
    version: int | None = None
    target_name: str = ""
    crops_per_photo: int = 2
    bound: Bound = field(default_factory=Bound)
    seed: int = 0
    fold_count: int = 0
    replace: bool = False
    rewrite_config: bool = False


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """Figures of a quantisation. Differences are mean absolute differences of alphas to f32, 0 to 1."""

    name: str
    photo_names: tuple[str, ...]
    differences: tuple[float, ...]
    unseen_differences: tuple[float, ...]
    float_layer_count: int
    float_share: float
    seconds_f32: float
    seconds_int8: float

    @property
    def speedup(self) -> float:
        return self.seconds_f32 / self.seconds_int8


def quantize(request: QuantizeRequest, repository: Repository, cache: Path, say: Say) -> QuantizeReport:
    """Makes the int8 entry and writes its report to `cache`/reports.

    A result for the same graph, photos and settings is taken from the cache.

    Raises:
        QuantizationError: no form holds the bound.
        ModelsError: the entry is missing, broken or exists already.
    """
    target_name = request.target_name or f"{request.name}-int8"
    source = repository.model_path(request.name, request.version)
    version = int(source.parent.name)
    repository.require_free(target_name, version, replacing=request.replace)
    config = read_config(repository.config_path(request.name))
    if config.precision == "int8":
        raise QuantizationError(f"{request.name} is int8 already.")
    origin = read_origin(source.parent)
    kept = cache / "quantized" / _key(request, source)
    cached_model, cached_report = kept.with_suffix(".onnx"), kept.with_suffix(".json")
    sides = config.working_sides_px
    if cached_model.is_file() and cached_report.is_file():
        say(f"taking the int8 form of {request.name} from {cached_model}")
        report = _report_from(cached_report)
    else:
        report = _make(request, source, sides, cached_model, say)
        write_json(cached_report, asdict(report))
    accelerator = Accelerator("openvino", parameters=SIDE_BY_SIDE if config.max_batch_size else {})
    int8_config = replace(
        config, name=target_name, precision="int8", engine="openvino", accelerator=accelerator, stand_in=""
    )
    with repository.building(target_name, version) as folder:
        link_or_copy(cached_model, folder / ONNX_FILE)
        write_origin(
            folder, replace(origin, derived_from=request.name, bound_mean=request.bound.mean, method=METHOD_VERSION)
        )
        settle_config(repository, int8_config, version, rewrite=request.rewrite_config, say=say)
    page = cache / "reports" / f"{target_name}-quantize.html"
    write_report(page, report, request.bound)
    say(
        f"{target_name} version {version}: {np.mean(report.differences):.4f} of 1.0 from f32 on average, "
        f"{max(report.differences):.4f} at worst, {report.speedup:.1f} times as fast; report {page}"
    )
    return report


def _make(request: QuantizeRequest, source: Path, sides: tuple[int, int], target: Path, say: Say) -> QuantizeReport:
    photos = [at_size(open_photo(path), sides) for path in request.photos]
    full = OpenVinoRunner(source, IN_F32)
    expected = [full.run(photo[None])[0] for photo in photos]
    model = onnx.load(source)

    def quantised(paths: Sequence[Path], checked: Sequence[int], bound: Bound) -> tuple[onnx.ModelProto, list[float]]:
        result = to_int8(
            model,
            calibration_pictures(paths, sides, request.crops_per_photo, request.seed),
            [photos[index] for index in checked],
            [expected[index] for index in checked],
            sides_px=sides,
            bound=bound,
            say=say,
        )
        shares.append((len(result.float_layers), result.float_share))
        return result.model, list(result.differences)

    shares: list[tuple[int, float]] = []
    unseen = _unseen_differences(request, photos, expected, quantised, say)
    everything = range(len(photos))
    final, differences = quantised(request.photos, everything, request.bound)
    with replacing(target) as beside:
        onnx.save(final, beside)
    seconds = [_seconds_per_image(runner, photos) for runner in (full, OpenVinoRunner(target))]
    return QuantizeReport(
        request.name,
        tuple(path.name for path in request.photos),
        tuple(differences),
        tuple(unseen),
        *shares[-1],
        *seconds,
    )


def _unseen_differences(
    request: QuantizeRequest, photos: Sequence[Pixels], expected: Sequence[Pixels], quantised: _Quantise, say: Say
) -> list[float]:
    """Differences of each photo to a form that was calibrated and accepted without it."""
    unseen = [0.0] * len(photos)
    order = np.random.default_rng(request.seed).permutation(len(photos))
    for fold in range(request.fold_count):
        left_out = sorted(int(index) for index in order[fold :: request.fold_count])
        seen = [index for index in range(len(photos)) if index not in left_out]
        say(f"round {fold + 1} of {request.fold_count}: without {', '.join(request.photos[i].name for i in left_out)}")
        model, _ = quantised([request.photos[index] for index in seen], seen, request.bound)
        runner = OpenVinoRunner(model.SerializeToString())
        for index in left_out:
            unseen[index] = mean_difference(runner.run(photos[index][None])[0], expected[index])
            say(f"  {request.photos[index].name} differs by {unseen[index]:.4f}")
    return unseen if request.fold_count else []


def _seconds_per_image(runner: OpenVinoRunner, photos: Sequence[Pixels], rounds: int = 5) -> float:
    """The fastest of some runs of one image: the least disturbed by what else runs."""
    times = []
    for index in range(rounds + 1):
        image = photos[index % len(photos)][None]
        start = time.perf_counter()
        runner.run(image)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _key(request: QuantizeRequest, source: Path) -> str:
    inputs = {
        "method": METHOD_VERSION,
        "model": sha256_of(source),
        "photos": [sha256_of(path) for path in request.photos],
        "crops": request.crops_per_photo,
        "bound": asdict(request.bound),
        "seed": request.seed,
        "folds": request.fold_count,
        "nncf": metadata.version("nncf"),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:24]


def _report_from(path: Path) -> QuantizeReport:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
    return QuantizeReport(**{**content, **lists})


def write_report(path: Path, report: QuantizeReport, bound: Bound) -> None:
    """The report as a page, and beside it as JSON."""
    columns = [
        Column("photo", report.photo_names),
        Column("difference to f32", tuple(f"{value:.4f}" for value in report.differences)),
    ]
    if report.unseen_differences:
        columns.append(Column("when left out of calibration", tuple(f"{v:.4f}" for v in report.unseen_differences)))
    summary = (
        f"On average {np.mean(report.differences):.4f} of 1.0, at worst {max(report.differences):.4f} (bound "
        f"{bound.mean} and {bound.worst_photo}). {report.float_layer_count} layers, {report.float_share:.1%} of the "
        f"arithmetic, are left in floating point. One image: f32 {report.seconds_f32:.3f} s, int8 "
        f"{report.seconds_int8:.3f} s."
    )
    write_page(
        path,
        f"{report.name} in int8",
        summary,
        passed=bound.holds(report.differences),
        body=table(*columns),
    )
    write_json(path.with_suffix(".json"), asdict(report))

# SPDX-License-Identifier: Apache-2.0
"""The families of matting networks and how each wants its photo, from the authors' own programs and rembg's.

What is said of licences was looked up in November 2026, and docs/models.md says where. It is no legal advice.
"""

from dataclasses import dataclass, replace

from matting_models.errors import RecipeError
from matting_models.recipes.recipe import Activation, Fit, Normalise, Recipe

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_ONES = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Preset:
    """A family: its arithmetic, the names its exports use, and the licence of its published weights.

    `input_names` and `output_names` are what known exports call them, best first; the output of the first name
    present is taken, or the first output. `noncommercial` is the published weights' licence, not legal advice.
    """

    name: str
    title: str
    recipe: Recipe
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    license: str
    noncommercial: bool = False
    note: str = ""


_TORCH_INPUTS = ("input.1", "input", "x")
_TORCH_OUTPUTS = ("output", "alpha", "mask")

_SIDE_32 = 32

_U2NET = Recipe(scale=None, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, normalise=Normalise.MIN_MAX, size_px=(320, 320))
_ISNET = Recipe(mean=_HALF, std=_ONES, normalise=Normalise.MIN_MAX, size_px=(1024, 1024))
_BIREFNET = Recipe(
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    activation=Activation.SIGMOID,
    size_px=(1024, 1024),
    multiple_px=_SIDE_32,
)
_MODNET = Recipe(mean=_HALF, std=_HALF, fit=Fit.ASPECT, size_px=(512, 512), multiple_px=_SIDE_32)
# How BEN2's own program for its ONNX file (onnx_run.py) feeds it; the sigmoid that the network ends in is in the file.
BEN2_ONNX = Recipe(normalise=Normalise.MIN_MAX, size_px=(1024, 1024))
_DIS5K = "trained on DIS5K, whose terms allow no commercial use"
_BRIA = "BRIA non-commercial licence"
_BRIA_NOTE = "commercial use of these weights needs an agreement with BRIA"


def _u2net(name: str, title: str, license_name: str = "Apache-2.0", note: str = "") -> Preset:
    outputs = ("1959", "d0", *_TORCH_OUTPUTS)
    return Preset(name, title, _U2NET, _TORCH_INPUTS, outputs, license_name, note=note)


def _birefnet(name: str, title: str, recipe: Recipe = _BIREFNET, data: str = f"most were {_DIS5K}") -> Preset:
    note = (
        f"the authors put code and weights under MIT; {data}; "
        "the size is part of the model: it loses much at another than it was trained for"
    )
    return Preset(name, title, recipe, ("input_image", "input"), ("output_image", "output"), "MIT", note=note)


def _isnet(name: str, title: str, license_name: str, recipe: Recipe = _ISNET, note: str = "") -> Preset:
    inputs, outputs = ("input_image", *_TORCH_INPUTS), ("output_image", *_TORCH_OUTPUTS)
    return Preset(name, title, recipe, inputs, outputs, license_name, note=note)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _u2net("u2net", "U^2-Net, general"),
        _u2net("u2netp", "U^2-Net, small"),
        _u2net("u2net-human", "U^2-Net for people"),
        _u2net(
            "silueta",
            "U^2-Net, reduced to 43 MB",
            "none stated (made from U^2-Net, Apache-2.0)",
            "its maker published it without naming a licence",
        ),
        _isnet(
            "isnet",
            "IS-Net, general use",
            "none stated (code: Apache-2.0)",
            note=f"the authors put their code under Apache-2.0 and name no licence for the weights, {_DIS5K}",
        ),
        _isnet(
            "isnet-anime",
            "IS-Net for drawn figures",
            "Apache-2.0",
            replace(_ISNET, mean=_IMAGENET_MEAN, fit=Fit.LETTERBOX),
        ),
        Preset("modnet", "MODNet, portraits", _MODNET, _TORCH_INPUTS, _TORCH_OUTPUTS, "Apache-2.0"),
        _birefnet("birefnet", "BiRefNet, general"),
        _birefnet("birefnet-lite", "BiRefNet, general, small"),
        _birefnet("birefnet-hr", "BiRefNet, 2048 pixels", replace(_BIREFNET, size_px=(2048, 2048))),
        _birefnet(
            "birefnet-matting",
            "BiRefNet, soft edges",
            data="they were trained on sets of which some, PPM-100 among them, allow no commercial use",
        ),
        Preset(
            "rmbg-1.4",
            "BRIA RMBG 1.4",
            _ISNET,
            _TORCH_INPUTS,
            _TORCH_OUTPUTS,
            _BRIA,
            noncommercial=True,
            note=_BRIA_NOTE,
        ),
        Preset(
            "rmbg-2.0",
            "BRIA RMBG 2.0",
            replace(_BIREFNET, activation=Activation.NONE),
            ("pixel_values", "input"),
            ("alphas", "output"),
            _BRIA,
            noncommercial=True,
            note=_BRIA_NOTE,
        ),
        Preset(
            "inspyrenet",
            "InSPyReNet (transparent-background)",
            replace(_BIREFNET, activation=Activation.NONE),
            _TORCH_INPUTS,
            _TORCH_OUTPUTS,
            "MIT",
            note="stretches its output to 0..1 inside the graph, over the whole batch; that is made per image",
        ),
        Preset(
            "ben2",
            "BEN2, base",
            replace(_BIREFNET, normalise=Normalise.MIN_MAX),
            _TORCH_INPUTS,
            _TORCH_OUTPUTS,
            "MIT",
            note=f"{_DIS5K}, and on the authors' own data; their ONNX file, which `models add ben2` fetches, wants its "
            "photo without ImageNet's mean and std",
        ),
        Preset(
            "pp-matting",
            "PP-Matting and PP-HumanMatting",
            _MODNET,
            ("img", "x"),
            ("alpha", "output", "fetch_name_0"),
            "Apache-2.0",
        ),
        Preset(
            "withoutbg",
            "withoutBG open weights",
            Recipe(fit=Fit.LETTERBOX, top_left=True, size_px=(448, 448)),
            ("rgb",),
            ("alpha",),
            "Apache-2.0 and the DINOv3 licence",
            note="its sizes differ from release to release; they are read from the file",
        ),
    )
}


def preset_of(name: str) -> Preset:
    """The preset of that name.

    Raises:
        RecipeError: there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise RecipeError(f"There is no preset {name}; there are {', '.join(sorted(PRESETS))}.") from None

# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when a model is brought into the repository, each with what was found and what was expected."""


class ModelsError(Exception):
    """Base of all errors of this package; the text is meant for the person at the terminal."""


class DependencyMissingError(ModelsError):
    """A library of the extra `[models]` is not installed."""


class DownloadError(ModelsError):
    """A file could not be fetched."""


class HashMismatchError(ModelsError):
    """A file is not the one that was pinned."""


class ModelUnreadableError(ModelsError):
    """The file is not an ONNX model, or parts of it are missing."""


class OpsetUnsupportedError(ModelsError):
    """The model's operator set is older or newer than what the engines run."""


class InterfaceError(ModelsError):
    """The model's inputs or outputs are not those of a matting model with one photo in and one alpha out."""


class RecipeError(ModelsError):
    """How the model wants its photo is unknown, incomplete or contradictory."""


class EntryExistsError(ModelsError):
    """The repository already has an entry or version of that name."""


class EntryNotFoundError(ModelsError):
    """The repository has no entry or version of that name."""


class ConfigBrokenError(ModelsError):
    """A `config.pbtxt` cannot be read or does not describe a matting model."""


class VerificationError(ModelsError):
    """The entry does not answer as the original does."""


class QuantizationError(ModelsError):
    """No quantised form of the model holds the bound asked for."""


class EngineError(ModelsError):
    """The engine refused the model."""

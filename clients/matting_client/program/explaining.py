# SPDX-License-Identifier: Apache-2.0
"""Failed calls in words that a person at a terminal can act on."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from matting_client.errors import (
    BackendUnavailableError,
    CredentialsInvalidError,
    CredentialsMissingError,
    MattingError,
    MessageTooLargeError,
    NoAnswerInTimeError,
    PermissionDeniedError,
)

# What to do about an error, by the program's own options.
_ADVICE: Mapping[type[MattingError], str] = {
    BackendUnavailableError: "wait longer by --timeout, or ask the gateway's operator",
    CredentialsMissingError: "give --token TOKEN or @FILE, or a certificate by --tls-cert and --tls-key",
    CredentialsInvalidError: "look at --token, or at --tls-cert",
    PermissionDeniedError: "`matting models` lists what this caller may use",
    MessageTooLargeError: "a photo and its result may have 64 MiB each; --max-side makes the result smaller",
    NoAnswerInTimeError: "no answer came in time; --timeout waits longer",
}


def explain(error: MattingError) -> str:
    """Say in plain words why a call failed, and what can be done about it."""
    parts = [" ".join(error.message.split()) or f"the server answered {error.code.name}"]
    if error.details.field_path:
        parts.append(f"(option {error.details.field_path})")
    if error.reason:
        parts.append(f"[{error.reason}]")
    if error.retry_after_s is not None:
        parts.append(f"(the server says to try again in {error.retry_after_s:.1f} s)")
    advice = _ADVICE.get(type(error))
    return " ".join(parts) + (f"; {advice}" if advice else "")


def plain(text: str) -> str:
    """Return words from elsewhere (a server's, a file's name) with nothing in them that a terminal would obey."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question after what is nearest to a word, or nothing where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def which_models(name: str, served: Sequence[str]) -> str:
    """Say which models there are beside the one that is not."""
    return f"{did_you_mean(name, served)} Served: {', '.join(served) or 'none'}."

# SPDX-License-Identifier: Apache-2.0
"""The words of `matting`: help, typos told in one line with what was meant, and completion by real shells."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from testkit.matting_program import PROGRAM, environment, run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "matting: name a command: cutout, models, policy, completion"),
        (("cutuot",), "there is no command 'cutuot'; did you mean cutout?"),
        (("cat.png",), "cat.png is no command; did you mean matting cutout cat.png -o OUT?"),
        (("--server", "x", "models"), "the command comes first"),
        (("cutout", "cat.png", "-o", "x.png", "--fromat", "png"), "no option --fromat; did you mean --format?"),
        (("cutout", "cat.png", "-o", "x.png", "--fromat=png"), "no option --fromat; did you mean --format?"),
        (("cutout", "cat.png", "-o", "x.png", "--format", "pgn"), "none of png, webp, jpeg, avif; did you mean png?"),
        (("cutout", "cat.png", "-o", "x.png", "--output", "alhpa"), "did you mean alpha?"),
        (("cutout", "cat.png", "-o", "x.png", "--refine", "mating"), "did you mean matting?"),
        (("cutout", "cat.png", "-o", "x.png", "--quality", "high"), "'high' is no whole number that is 1 to 100"),
        (("cutout", "cat.png", "-o", "x.png", "--timeout", "inf"), "'inf' is no number that is more than 0"),
        (("cutout", "cat.png", "-o", "x.png", "--overwrite", "--skip-existing"), "not allowed with argument"),
        (("cutout", "cat.png", "-o", "--crop"), "option '-o/--out' requires an argument"),
        (("cutout", "cat.png", "-o", "x.png", "--format"), "option '--format' requires an argument"),
        (("cutout", "gone.png", "-o", "x.png"), "gone.png does not exist"),
        (("models", "extra"), "there is nothing to do with extra"),
        (("completion", "basch"), "did you mean bash?"),
    ],
)
def test_what_cannot_be_followed_is_told_in_one_line(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"photo")
    done = run(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert b"usage:" not in done.stderr


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("cutout",), ("models",), ("policy",), ("completion",)])
def test_help_is_there_and_shows_defaults_as_values(flag: str, command: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*command, flag, folder=tmp_path, server="gateway.example:443, 10.0.0.1:50051")
    assert (done.returncode, done.stderr) == (0, b"")
    text = " ".join(done.stdout.decode().split())
    assert "130 interrupted by Ctrl-C" in text
    assert "['" not in text
    assert "_" not in re.sub(r"MATTING_SERVER", "", text)
    if command in {("cutout",), ("models",), ("policy",)}:
        assert "(default: gateway.example:443, 10.0.0.1:50051)" in text


def test_who_stops_reading_help_is_told_nothing(tmp_path: Path) -> None:
    command = f"{PROGRAM} cutout -h | true; {PROGRAM} -h | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path)
    assert done.stderr == b""


# What each shell offers after words: asked of the shell itself, which reads the script first.
ASKED = {
    "bash": 'eval "$(matting completion bash)"; COMP_WORDS=({words} "$1"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); '
    '_matting; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": 'matting completion fish | source; complete -C "{words} $argv[1]" | string split -f1 \\t',
    # zsh offers only on a terminal; what can be asked without one is whether it takes the script.
    "zsh": 'autoload -U compinit; compinit -D; eval "$(matting completion zsh)"; print -l ${{(k)_comps}} '
    "${{(k)functions}}",
}


def offered(shell: str, words: str, begun: str, folder: Path) -> set[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    rest = ["--", begun] if shell == "fish" else [shell, begun]
    command = [shell, "-c", ASKED[shell].format(words=words), *rest]
    path = {"PATH": f"{Path(PROGRAM).parent}:{environment()['PATH']}", "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment() | path, cwd=folder, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_offers_what_can_come_next(shell: str, tmp_path: Path) -> None:
    assert {"cutout", "models", "policy", "completion"} <= offered(shell, "matting", "", tmp_path)
    assert offered(shell, "matting cutout", "--for", tmp_path) == {"--format"}
    assert offered(shell, "matting cutout --format", "", tmp_path) == {"png", "webp", "jpeg", "avif"}
    assert offered(shell, "matting models", "--js", tmp_path) == {"--json"}
    assert offered(shell, "matting completion", "f", tmp_path) == {"fish"}


def test_zsh_takes_the_completion(tmp_path: Path) -> None:
    assert {"matting", "_matting"} <= offered("zsh", "", "", tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_option(shell: str, tmp_path: Path) -> None:
    help_text = run("cutout", "-h", folder=tmp_path).stdout.decode()
    script = run("completion", shell, folder=tmp_path).stdout.decode()
    options = set(re.findall(r"--([a-z][a-z-]+)", help_text)) - {"style"}
    missing = {name for name in options if not re.search(rf"(--|-l ){name}\b", script)}
    assert missing == set()

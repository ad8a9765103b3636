"""Examples can be typed as they stand; a shell completes names."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from kubesmith import cli, completion, manual, phases

EVERY = [(verb, line) for verb, rows in manual.EXAMPLES.items() for line, _text in rows]


@pytest.mark.parametrize(("verb", "line"), EVERY)
def test_an_example_is_a_command_of_its_verb(verb: str, line: str) -> None:
    words = shlex.split(line.partition(" >")[0])
    given = cli.arguments(words)
    assert verb in ("", given.verb)
    if given.verb == "up":
        cli._phases(given)


def test_every_verb_has_an_example_and_every_phase_a_text() -> None:
    assert set(manual.EXAMPLES) == {"", *cli.VERBS}
    assert tuple(manual.PHASE_TEXT) == phases.PHASES


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_shows_examples_and_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    said = capsys.readouterr().out
    assert all(f"{manual.RUN} {line}".rstrip() in said for line, _text in manual.EXAMPLES[verb])
    assert "\n  2    bad input, nothing was touched\n" in said


COMPLETED = [
    ("up --from c", "control-plane converge"),
    ("wait-for n", "nodes network"),
    ("status -i la", "lab"),
    ("ssh w", "w1 w2"),
    ("verif", "verify"),
]


@pytest.mark.parametrize(("words", "wanted"), COMPLETED)
def test_bash_completes(words: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ssh_config").write_text("Host cp1\n  Port 22\nHost w1\nHost w2\nHost *\n")
    (tmp_path / "script").write_text(completion.script(cli.parser(), "bash"))
    line = ["runner.py", *words.split()]
    shell = f"source {tmp_path}/script; COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(line) - 1}; _shtab_runner_py"
    done = subprocess.run(
        ["bash", "-c", f'{shell}; echo "${{COMPREPLY[*]}}"'],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "KUBESMITH_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == wanted


def test_commands_in_remedies_name_the_runs_inventory() -> None:
    text = "python3 runner.py up --only nodes, then `runner.py ssh NODE`; python3 runner.py bundle verify"
    assert manual.typed(text, "lab") == text
    assert manual.typed(text, "my lab") == (
        "python3 runner.py -i 'my lab' up --only nodes, then `runner.py -i 'my lab' ssh NODE`; "
        "python3 runner.py bundle verify"
    )


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not here")
@pytest.mark.parametrize("program", ["runner.py", "./runner.py", "kubesmith"])
@pytest.mark.parametrize(("words", "wanted"), COMPLETED)
def test_fish_completes(words: str, wanted: str, program: str, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ssh_config").write_text("Host cp1\n  Port 22\nHost w1\nHost w2\nHost *\n")
    (tmp_path / "script").write_text(completion.script(cli.parser(), "fish"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {tmp_path}/script; complete -C '{program} {words}'"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "KUBESMITH_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(line.split("\t")[0] for line in done.stdout.splitlines()) == sorted(wanted.split())


def test_what_fish_cannot_know_it_asks_a_function() -> None:
    script = completion.script(cli.parser(), "fish")
    for name in ("phases", "milestones", "inventories", "nodes"):
        assert f"function _kubesmith_{name}; " in script
        assert f'"(_kubesmith_{name})"' in script


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_other_shells_get_a_script(shell: str) -> None:
    assert "wait-for" in completion.script(cli.parser(), shell)

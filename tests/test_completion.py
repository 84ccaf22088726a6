"""`flin completion`: scripts that shells take, and what bash completes by one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flin.cli.main import main
from tests.tool import needs_tool

CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", CHECKS)
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert "memory-limit" in text
    assert "appendonly" not in text, "names of Redis that are only understood"
    needs_tool(CHECKS[shell][0])
    subprocess.run(CHECKS[shell], input=text, text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flin ser", {"serve"}),
        ("flin serve --log-f", {"--log-format"}),
        ("flin serve --log-format j", {"json"}),
        ("flin serve --sync ", {"always", "interval", "never"}),
    ],
)
def test_what_bash_completes(line: str, expected: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = line.split(" ")
    ask = (
        f"COMP_WORDS=({' '.join(words)}); [[ '{words[-1]}' ]] || COMP_WORDS+=(''); COMP_CWORD={len(words) - 1}; "
        '$(complete -p flin | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); printf "%s\\n" "${COMPREPLY[@]}"'
    )
    text = f"{script('bash', capsys)}\n{ask}\n"
    needs_tool("bash")
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, timeout=60, check=False)
    assert {*done.stdout.split()} == expected, done.stderr


def test_without_its_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "flin: the scripts are made by shtab: pip install 'flin[completion]'\n"

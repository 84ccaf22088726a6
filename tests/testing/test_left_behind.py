"""What a run of faults leaves that was killed: the next one removes it, and nothing of a run that lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flin.testing.cluster import network, small
from flin.testing.cluster.network import Network, NetworkError
from flin.testing.cluster.small import SmallDisk

HELD = """
import sys
{made}
with it:
    print(it._name if hasattr(it, "_name") else it.is_there, flush=True)
    sys.stdin.read()
"""


def _begun(made: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HELD.format(made=made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_networks() -> None:
    try:
        with Network(1):
            pass
    except NetworkError as error:
        pytest.skip(str(error))
    with _begun("from flin.testing.cluster.network import Network; it = Network(2)") as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        try:
            network.remove_old()
            assert f"{name}n1" in network._ip("netns", "list"), "it lives"
        finally:
            _killed(process)
    with Network(1):
        assert f"{name}n" not in network._ip("netns", "list")
        assert name not in network._ip("-o", "link", "show")


def test_small_disks(tmp_path: Path) -> None:
    folder = tmp_path / "a disk"
    made = (
        f"from pathlib import Path; from flin.testing.cluster import small; it = small.SmallDisk(Path({str(folder)!r}))"
    )
    with _begun(made) as process:
        assert process.stdout is not None
        is_there = process.stdout.readline().strip()
        try:
            small.remove_old()
            assert folder.is_mount() == (is_there == "True"), "it lives"
        finally:
            _killed(process)
    if is_there != "True":
        pytest.skip("a tmpfs cannot be mounted here")
    with SmallDisk(tmp_path / "other"):
        assert not folder.is_mount()

"""A network of its own for each node (Linux, as root): a namespace, an address, and a cable to a switch that this
process is on, too. What one node sends another can be lost, one way or both, while clients reach all of them. What a
process has left that was killed, the next one removes: all names begin with its process's number.

    with Network(3) as network:
        network.cut(0, 1)       # nothing of what node 0 sends arrives at node 1
        network.heal()
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from contextlib import suppress
from typing import Final, Self

from flin.testing.process import is_alive, wait_until

HERE: Final = 254
"""This process's place in the network, of which the nodes are the first."""


class NetworkError(OSError):
    """The kernel, or who runs this, may not make networks."""


class Network:
    """From `with` on."""

    def __init__(self, nodes: int) -> None:
        number = random.randrange(1 << 14)
        self._net = f"10.{64 + number // 256}.{number % 256}"
        self._name = f"fl{os.getpid()}x{number % 1000}"  # 13 letters, a node's number after it, and the kernel takes 15
        self._spaces = [f"{self._name}n{node}" for node in range(nodes)]
        self._cut: set[tuple[int, int]] = set()

    def host(self, node: int) -> str:
        return f"{self._net}.{node + 1}"

    def prefix(self, node: int) -> list[str]:
        """What a command begins with that is to run there."""
        return ["ip", "netns", "exec", self._spaces[node]]

    def __enter__(self) -> Self:
        try:
            remove_old()
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        _ip("addr", "add", f"{self._net}.{HERE}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for node, space in enumerate(self._spaces):
            _ip("netns", "add", space)
            _ip("link", "add", f"{self._name}{node}", "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", f"{self._name}{node}", "master", self._name, "up")
            _ip("-n", space, "addr", "add", f"{self.host(node)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
        wait_until(lambda: all(map(self._is_reached, self._spaces)), "the nodes' networks are up")

    def _is_reached(self, space: str) -> bool:
        return "state UP" in _ip("-n", space, "link", "show", "eth0")

    def __exit__(self, *exception: object) -> None:
        for space in self._spaces:
            with suppress(NetworkError):  # it was not made
                _ip("netns", "del", space)
        with suppress(NetworkError):
            _ip("link", "del", self._name)

    def cut(self, sender: int, receiver: int) -> None:
        if (sender, receiver) not in self._cut:
            self._cut.add((sender, receiver))
            _ip("-n", self._spaces[sender], "route", "add", "blackhole", f"{self.host(receiver)}/32")

    def heal(self) -> None:
        for sender, receiver in self._cut:
            _ip("-n", self._spaces[sender], "route", "del", "blackhole", f"{self.host(receiver)}/32")
        self._cut.clear()


def remove_old() -> None:
    """The networks of processes that have ended without removing them."""
    for kind, listing in (("netns", ("netns", "list")), ("link", ("-o", "link", "show"))):
        for name, number in re.findall(r"^(?:\d+: )?(fl(\d+)x\d+n?\d*)\b", _ip(*listing), re.MULTILINE):
            if not is_alive(int(number)):
                with suppress(NetworkError):  # a cable goes with either of its ends, and others may do this, too
                    _ip(kind, "del", name)


def _ip(*words: str) -> str:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NetworkError("`ip` is not installed: apt install iproute2") from error
    if done.returncode:
        raise NetworkError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout

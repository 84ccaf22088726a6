"""Jobs for RQ's workers."""

from __future__ import annotations

import os
import time

tries: list[int] = []


def add(one: int, other: int) -> int:
    return one + other


def at_the_third_try(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError("not yet")
    return os.path.getsize(path)


def fails() -> None:
    raise ValueError("as it should")


def until_a_file_is_there(path: str, started: str) -> str:
    with open(started, "a") as file:
        file.write("x")
    while not os.path.exists(path):
        time.sleep(0.01)
    return "there"

"""Damage to every bit and every length of small databases: the long run of what tests/engine/test_damage.py samples.

Invariant: detected or harmless, never a wrong answer, nothing but documented errors; if the engine names a file, `flin
check` names it, too.

    python -m fuzz.damage [step] [scene …]     every step-th bit and length (1: every one) of all scenes, or of these
"""

from __future__ import annotations

import sys
import time

from tests.engine.damage import SCENES, cut, flip


def main() -> None:
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    began = time.monotonic()
    cases = 0

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", flush=True)

    for name in sys.argv[2:] or SCENES:
        for damage in (flip, cut):
            outcomes = damage(name, step, say)
            cases += sum(outcomes.values())
    print(f"{cases:,} cases: no violation")


if __name__ == "__main__":
    main()

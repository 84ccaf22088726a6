"""The table of docs/crash-safety.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tests.engine.hunts import Tally
from tests.engine.mutants import MUTANTS

HEAD = "| mutant | invariant that it breaks | caught by | after | seconds |\n|---|---|---|---:|---:|"


def main(names: Sequence[str]) -> int:
    """Exit code 1 if one was not caught."""
    missed = 0
    print(HEAD)
    for mutant in [mutant for mutant in MUTANTS if not names or mutant.name in names]:
        tally = Tally()
        began = time.process_time()
        found = mutant.hunted(tally)
        seconds = time.process_time() - began
        missed += not found
        after = str(tally) if found else "NOT CAUGHT"
        cells = (f"`{mutant.name}`", mutant.invariant, mutant.hunt.__name__.replace("_", " "), after, f"{seconds:.1f}")
        print(f"| {' | '.join(cells)} |", flush=True)
        if names:
            print(f"\n{found[:200]}\n…\n{found[-400:]}\n", file=sys.stderr, flush=True)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

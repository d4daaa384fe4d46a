"""`make mutmut`: a sample of the small changes that mutmut makes anywhere in `domain/`, and what the tests notice.

    python tests/mutation_sample.py [500] [--seed 2026]

mutmut writes its mutants and their fates to `mutants/`; the domain's tests alone judge them. The same seed draws the
same sample. A survivor is a missing test, or a change that changes nothing: `mutmut show NAME` prints it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "mutants"
SURVIVED = {0, 5, 33, 34}
"""How tests ended that noticed nothing: they passed, or there were none. What hangs or crashes is noticed."""


def fates() -> dict[str, int | None]:
    """Every mutant by name, and how its tests ended; None: not tried."""
    found: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("size", type=int, nargs="?", default=500)
    parser.add_argument("--seed", type=int, default=2026)
    asked = parser.parse_args()
    mutmut = [str(Path(sys.executable).with_name("mutmut")), "run"]
    if not MUTANTS.exists():
        # Makes them all, and learns which test reaches what.
        subprocess.run([*mutmut, "domain.status.*"], cwd=ROOT, check=True)
    everything = sorted(fates())
    sample = random.Random(asked.seed).sample(everything, min(asked.size, len(everything)))
    subprocess.run([*mutmut, *sample], cwd=ROOT, check=False)
    ended = {name: code for name, code in fates().items() if name in set(sample)}
    survived = [name for name, code in ended.items() if code in SURVIVED]
    tried = sum(code is not None for code in ended.values())
    killed = tried - len(survived)
    share = f"{killed} of {tried} mutants killed ({100 * killed / max(tried, 1):.0f} %)"
    sys.stdout.write("\n".join([*(f"survived: {name}" for name in survived), share, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

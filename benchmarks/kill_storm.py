"""One search per executor, killed 25 times with SIGKILL and taken up again each time; writes a table.

    python benchmarks/kill_storm.py [--executors local,processes,ray]

What must hold is asserted (``tests/search/killing.py``): no finished trial lost, none done twice, none running at the
end, no second of the budget counted twice. The search is one with fake workers, so that its kills fall close together.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.search import killing  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "kill_storm.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", default="local,processes,ray")
    rows = [line for line in _lines() if line.startswith("| ") and not line.startswith("| executor")]
    for executor in parser.parse_args().executors.split(","):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            killed = killing.storm(Path(folder) / "run", executor, killing.POINTS)
            missed = ", ".join(point for point in killing.POINTS if not killed.get(point)) or "none"
            rows = [row for row in rows if not row.startswith(f"| {executor} |")]
            rows.append(f"| {executor} | {sum(killed.values())} | {missed} | {time.monotonic() - began:.0f} |")
            print(rows[-1], flush=True)
        table = ["| executor | kills | points not reached | seconds |", "|---|---|---|---|", *rows]
        RESULTS.write_text("\n".join(["<!-- benchmarks/kill_storm.py -->", *table]) + "\n", encoding="utf-8")


def _lines() -> list[str]:
    return RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []


if __name__ == "__main__":
    main()

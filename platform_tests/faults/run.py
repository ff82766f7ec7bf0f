"""``python platform_tests/faults/run.py [--long] [--seed N] [--bar B1]``; exit 1 on a violation."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from platform_tests.faults.report import main

    sys.exit(main())

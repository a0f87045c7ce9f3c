# SPDX-License-Identifier: Apache-2.0
"""`python tests/bench/simulator`: the tables, as Markdown."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from bench.simulator.tables import main

    main()

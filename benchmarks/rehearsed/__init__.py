"""What `benchmarks/rehearsal.py` is made of: the people, their server, and a watch over the processes of a run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # heads, and the comparison of two results, are there

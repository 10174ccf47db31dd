"""Lets the benchmarks import `rivals`, `shapes` and the like by name, and keeps rivals off the network.

The numba twins are compiled once for benchmarks and tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support.numba_cache import share_compiled_twins

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
share_compiled_twins()

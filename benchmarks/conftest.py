"""Lets the benchmarks import `rivals`, `shapes` and the like by name, and keeps rivals off the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

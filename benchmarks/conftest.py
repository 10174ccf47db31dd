"""Keeps rivals off the network.

The numba twins are compiled once for benchmarks and tests.
"""

from __future__ import annotations

import os

from support.numba_cache import share_compiled_twins

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
share_compiled_twins()

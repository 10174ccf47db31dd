"""Where tests and benchmarks keep the compiled numba twins, which take minutes to compile."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numba
from numba.core.caching import UserProvidedCacheLocator

import dcap


class OneFolder(UserProvidedCacheLocator):
    """Keeps all in `numba.config.CACHE_DIR`, wherever the package is installed; numba adds a folder per place."""

    def get_cache_path(self) -> str:
        return str(numba.config.CACHE_DIR)


def share_compiled_twins() -> None:
    """Use a folder that belongs to the sources of the kernels as they are now; call it before they are imported.

    numba looks at the file of a function only, so a cached caller would go on using a callee that has changed since in
    another file. A folder per state of all sources cannot go stale, and serves every environment that has them.
    """
    sources = sorted((Path(dcap.__file__).parent / "kernels").rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    numba.config.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"dcap-numba-{digest}")
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{OneFolder.__name__}"

"""What an example, a test and a first run need: small models that are built on the spot.

Example:
    folder = resolve_model("builtin:tiny")
    build_tiny(Path("wide"), size=TinySize(head_dim=32))
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.demo.models import TinySize, build_tiny, resolve_model

__all__ = ["TinySize", "build_tiny", "resolve_model"]

__getattr__, __dir__ = lazy(__name__, {"models": ("TinySize", "build_tiny", "resolve_model")})

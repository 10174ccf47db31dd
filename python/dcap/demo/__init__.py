"""What an example, a test and a first run need: small models that are built on the spot.

Example:
    folder = resolve_model("builtin:micro")
    build_tiny(Path("wide"), size=ModelSize(head_dim=32))
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.demo.models import ModelSize, build_micro, build_tiny, resolve_model

__all__ = ["ModelSize", "build_micro", "build_tiny", "resolve_model"]

__getattr__, __dir__ = lazy(__name__, {"models": ("ModelSize", "build_micro", "build_tiny", "resolve_model")})

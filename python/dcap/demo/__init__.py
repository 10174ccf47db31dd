"""What an example, a test and a first run need: small models that are built on the spot, and scenes with known truth.

Example:
    folder = resolve_model("builtin:micro")
    build_tiny(Path("wide"), size=ModelSize(head_dim=32))
    image, record = make_scene(SceneOptions(level="hard"), 17)
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.demo.models import ModelSize, build_micro, build_tiny, resolve_model
    from dcap.demo.relations import count_summary, relation_captions
    from dcap.demo.scenes import SceneOptions, SceneRecords, make_scene

__all__ = [
    "ModelSize",
    "SceneOptions",
    "SceneRecords",
    "build_micro",
    "build_tiny",
    "count_summary",
    "make_scene",
    "relation_captions",
    "resolve_model",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "models": ("ModelSize", "build_micro", "build_tiny", "resolve_model"),
        "relations": ("count_summary", "relation_captions"),
        "scenes": ("SceneOptions", "SceneRecords", "make_scene"),
    },
)

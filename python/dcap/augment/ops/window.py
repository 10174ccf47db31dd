"""Rules that all ops with a window share: which objects the window keeps."""

from __future__ import annotations

from dataclasses import dataclass

from dcap.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rules for objects that the border of a window cuts."""

    min_coverage: float = 0.3
    """Drop objects whose visible share would be below this, 0..1."""
    completeness_threshold: float = 0.0
    """Rewrite the text of objects whose visible share is below this, as ``augmentation.completeness`` says, 0..1. 0:
    rewrite no text."""

    def __post_init__(self) -> None:
        for name in ("min_coverage", "completeness_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be within 0..1, not {getattr(self, name)}")
        if 0.0 < self.completeness_threshold <= self.min_coverage:
            raise ConfigError(
                f"completeness_threshold must be above min_coverage ({self.min_coverage}), below which objects are "
                f"dropped, not {self.completeness_threshold}. Raise it, or set 0 to rewrite nothing."
            )

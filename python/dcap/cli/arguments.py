"""Options that several commands share, and the check of numbers."""

from __future__ import annotations

import argparse

from dcap.core.errors import ConfigError
from dcap.core.parallel import default_workers


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``KEY=VALUE``, any number of them."""
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", help="change a field of the config, such as seed=1"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=int, default=default_workers(), metavar="N",
        help="number of processes that share the work; 0: only this one. The result is the same (default here: "
        "%(default)s)",
    )  # fmt: skip


def require_at_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """Check options that hold numbers. An option that was not given is fine.

    Args:
        args: Parsed arguments.
        least: Smallest legal value.
        names: The options, as attributes of `args`.

    Raises:
        ConfigError: A number is too small.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")

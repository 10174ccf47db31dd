"""Options that several commands share, and the check of numbers."""

from __future__ import annotations

import argparse
from typing import get_args

from dcap.core.errors import ConfigError
from dcap.core.parallel import default_workers
from dcap.geometry.canvas import MAX_PIXELS, MOST_PIXELS
from dcap.records.sixteen_bit import SixteenBit


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


def add_sixteen_bit(parser: argparse.ArgumentParser, when: str) -> None:
    """Add ``--sixteen-bit``; `when` begins its help."""
    parser.add_argument(
        "--sixteen-bit",
        choices=get_args(SixteenBit),
        default="full",
        help=f"{when}, which values of 16-bit grey images become black and white: 0 and 65535, the smallest and the "
        "largest of the image, or its 1st and 99th percentile (default: full)",
    )


def add_max_image_pixels(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-image-pixels``."""
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse images with more than N pixels, height times width (default: %(default)s)",
    )


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


def require_image_bound(args: argparse.Namespace, name: str) -> None:
    """Check an option that bounds the pixels of an image.

    Args:
        args: Parsed arguments.
        name: The option, as attribute of `args`.

    Raises:
        ConfigError: The number is below 1, or above what any image may have.
    """
    require_at_least(args, 1, name)
    value = getattr(args, name)
    if value > MOST_PIXELS:
        raise ConfigError(f"--{name.replace('_', '-')} must be at most {MOST_PIXELS}, not {value}")

"""``dcap doctor``: what this machine has, how dcap uses it, and what to do about the rest."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from dcap.audit.machine import examine_machine
from dcap.core.log import output_console, print_json

EPILOG = """\
examples:
  dcap doctor            a table for people
  dcap doctor --json     the same for programs and bug reports
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap doctor`` to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="show backend, versions, attention kernels and GPUs, and what is missing",
        description="Show what this machine has, what dcap makes of it, and what to do about the rest.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 only when the kernels cannot be loaded."""
    report = examine_machine()
    if args.json:
        print_json(report)
    else:
        _print(report, output_console())
    return 0 if report["kernels"]["backend"] else 1


def _print(report: dict[str, Any], console: Console) -> None:
    console.print(f"dcap {report['dcap']}, Python {report['python']}, {report['platform']}")
    kernels = report["kernels"]
    console.print(f"geometry kernels: {kernels['backend'] or 'none'} ({kernels['why']})\n")
    packages = Table("package", "wanted", "installed", "for", title="Packages", title_justify="left")
    for package in report["packages"]:
        wanted, installed = package["versions"] or "any", package["installed"] or "MISSING"
        packages.add_row(package["name"], wanted, installed, package["extra"] or "base")
    console.print(packages)
    if report["attention"]:
        attention = Table("model.attention", "usable", "why", title="Attention, best first", title_justify="left")
        for kernel in report["attention"]:
            attention.add_row(kernel["name"], "yes" if kernel["usable"] else "no", kernel["why"])
        console.print(attention)
    console.print(f"attention: auto takes {report['auto_attention']}")
    for index, gpu in enumerate(report["gpus"]):
        console.print(f"GPU {index}: {gpu['name']}, {gpu['memory_gib']} GiB, compute {gpu['compute_capability']}")
    if not report["gpus"]:
        console.print("GPU: none seen; everything runs on the CPU")
    shown = (f"{name} {value}" for name, value in report["threads"].items() if value is not None)
    console.print("threads: " + ", ".join(shown) + "\n")
    for line in report["advice"]:
        console.print(f"* {line}")
    if not report["advice"]:
        console.print("Nothing is missing. Next: dcap train configs/scenes.yaml")

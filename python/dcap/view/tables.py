"""A table of texts, for the terminal and for pages alike."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcap.core.words import printable


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts.

    `print_grid` prints it, the template ``grid.html`` puts it on a page.
    """

    title: str
    headings: tuple[str, ...]
    """One for each column; all empty: the table needs none."""
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """Lines below the table."""
    texts: tuple[int, ...] = (0,)
    """Columns that are aligned left."""


def print_grid(grid: Grid, console: Console) -> None:
    """Print a table; its texts are shown as they are, never as markup."""
    table = Table(box=None, pad_edge=False, show_header=any(grid.headings))
    for k, heading in enumerate(grid.headings):
        table.add_column(Text(heading), justify="left" if k in grid.texts else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(printable(text)) for text in row))
    console.print(Text(f"\n{grid.title}", style="bold"))
    console.print(table)
    for note in grid.notes:
        console.print(Text(printable(note), style="italic"), soft_wrap=True)

"""A table on the terminal and on a page."""

from __future__ import annotations

from rich.console import Console

from dcap.view.page import TEMPLATES, render_template
from dcap.view.tables import Grid, print_grid

GRID = Grid("sizes", ("name", "number"), (("[red]cup\x1b[31m", "7"), ("<b>", "12")), ("two rows",))


def printed(grid: Grid) -> str:
    with open("/dev/null", "w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        print_grid(grid, console)
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def test_texts_are_printed_as_they_are() -> None:
    lines = printed(GRID).splitlines()
    assert lines[1:] == [
        "sizes", "name              number", "[red]cup\\x1b[31m       7", "<b>                   12", "two rows",
    ]  # fmt: skip


def test_a_table_may_have_no_headings_and_more_columns_of_text() -> None:
    grid = Grid("t", ("", ""), (("a", "left"), ("b", "x")), texts=(0, 1))
    assert printed(grid).splitlines()[2:] == ["a  left", "b  x"]


def test_a_page_escapes_texts() -> None:
    page = render_template(TEMPLATES / "grid.html", grid=GRID)
    assert '<td class="text">&lt;b&gt;</td><td>12</td>' in page
    assert '<th class="text">name</th><th>number</th>' in page
    assert '<p class="note">two rows</p>' in page

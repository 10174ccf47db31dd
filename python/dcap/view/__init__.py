"""Pictures, pages and charts for people.

Example:
    picture = draw_shapes(image, record.shapes, record.captions)
    write_png(Path("picture.png"), contact_sheet([Tile(picture, "cups")], columns=1))
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.view.charts import Chart, Curves, Histogram, bar_lines, ranked
    from dcap.view.draw import DrawStyle, draw_shapes, scaled_to
    from dcap.view.page import Drop, Entry, Panel, render_template, samples_page
    from dcap.view.sheet import Tile, compare, contact_sheet, write_png
    from dcap.view.tables import Grid, print_grid

__all__ = [
    "Chart",
    "Curves",
    "DrawStyle",
    "Drop",
    "Entry",
    "Grid",
    "Histogram",
    "Panel",
    "Tile",
    "bar_lines",
    "compare",
    "contact_sheet",
    "draw_shapes",
    "print_grid",
    "ranked",
    "render_template",
    "samples_page",
    "scaled_to",
    "write_png",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "charts": ("Chart", "Curves", "Histogram", "bar_lines", "ranked"),
        "draw": ("DrawStyle", "draw_shapes", "scaled_to"),
        "page": ("Drop", "Entry", "Panel", "render_template", "samples_page"),
        "sheet": ("Tile", "compare", "contact_sheet", "write_png"),
        "tables": ("Grid", "print_grid"),
    },
)

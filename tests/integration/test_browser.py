"""The pages of ``dcap preview``, ``dcap inspect`` and ``dcap validate`` in a real browser, where one is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main

NAMES = ("chromium", "chromium-browser", "google-chrome")

# Before everything else on the page, so that no error of it is missed.
LISTEN = """<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(String(event.message || event.target.outerHTML)), true);
</script>"""

# After the page's own script: load every picture once more as an image, which knows its size, and wait for all; then
# point at the first object of each panel.
PROBE = """<script>
const images = [...document.querySelectorAll("svg image")].map((picture) => {
  const image = document.createElement("img");
  image.src = picture.getAttribute("href");
  document.body.append(image);
  return [image, picture];
});
window.addEventListener("load", () => {
  const pictures = images.map(([image, picture]) =>
    [image.naturalWidth, image.naturalHeight, picture.getBoundingClientRect().width]);
  const focused = [...document.querySelectorAll(".panel")].map((panel) => {
    const item = panel.querySelector("li");
    item.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    const tags = [...panel.querySelectorAll(".focus")].map((element) => element.tagName.toLowerCase());
    item.dispatchEvent(new MouseEvent("mouseout", {bubbles: true}));
    return [...tags, panel.querySelectorAll(".focus").length];
  });
  const signs = [...document.querySelectorAll(".key")].map((key) => getComputedStyle(key, "::before").content);
  const found = {errors, pictures, focused, signs, crossed: document.querySelectorAll("svg path").length};
  document.body.append(Object.assign(document.createElement("output"), {textContent: JSON.stringify(found)}));
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: one of {', '.join(NAMES)}")
    asked = subprocess.run([found, "--version"], capture_output=True, check=False, timeout=240)
    if asked.returncode:
        pytest.skip(f"needs a browser that starts, and {found} does not")
    return found


def opened(browser: str, page: Path, profile: Path) -> dict[str, Any]:
    """Open a page and return what the probe on it found."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [browser, *flags, f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=False, timeout=240)
    found = re.search(r"<output>(.+)</output>", done.stdout)
    assert found, done.stderr
    tree: dict[str, Any] = json.loads(html.unescape(found[1]))
    return tree


def test_every_picture_of_the_page_is_shown_and_no_script_fails(browser: str, tmp_path: Path) -> None:
    ops = "augmentation.ops=[{name: random_crop, params: {scale: [0.3, 0.5]}}, {name: rotate, params: {max_deg: 20}}]"
    assert main(["preview", "builtin:photos/photos.jsonl", ops, "--num-samples", "2", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text("utf-8")
    probed = page.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{PROBE}</body>")
    (tmp_path / "probed.html").write_text(probed, "utf-8")
    found = opened(browser, tmp_path / "probed.html", tmp_path / "profile")
    assert found["errors"] == []
    assert len(found["pictures"]) == 2 * 2
    for width, height, shown in found["pictures"]:
        assert f'viewBox="0 0 {width} {height}"' in page
        assert shown > 200
    # The item of the list, the shape and its number; and nothing once the pointer is away.
    assert found["focused"] == [["g", "g", "li", 0]] * 4
    assert found["crossed"] > 0
    assert set(found["signs"]) == {"none"}, "a number has its colour beside it, and no sign of a chart"


# What the reader of the report sees: the text of the tokens, where they are and in what colour, and the bars.
LOOK = """<script>
window.addEventListener("load", () => {
  const tokens = [...document.querySelectorAll(".tokens .t")].map((token) => {
    const box = token.getBoundingClientRect();
    return [token.textContent, box.width * box.height, getComputedStyle(token).backgroundColor, token.className];
  });
  const bars = [...document.querySelectorAll(".bars .length div")].map((bar) => bar.getBoundingClientRect().width);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const labels = [...document.querySelectorAll(".bars th")].map((label) => label.textContent);
  const found = {errors, tokens, bars, labels, wide};
  document.body.append(Object.assign(document.createElement("output"), {textContent: JSON.stringify(found)}));
});
</script>"""


def test_every_token_of_the_report_is_seen_in_the_colour_of_its_kind(browser: str, tmp_path: Path) -> None:
    config, page = str(Path(__file__).parents[2] / "configs" / "demo.yaml"), tmp_path / "inspect.html"
    assert main(["inspect", config, "--num-samples", "2", "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    probed = text.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{LOOK}</body>")
    (tmp_path / "probed.html").write_text(probed, "utf-8")
    found = opened(browser, tmp_path / "probed.html", tmp_path / "profile")
    assert (found["errors"], found["wide"]) == ([], 0)
    assert all(area > 0 for _, area, _, _ in found["tokens"])
    colors = {(css.split()[1], color) for _, _, color, css in found["tokens"]}
    assert len(colors) == len({color for _, color in colors}) == 5, "each kind has one colour of its own"
    supervised = "".join(shown for shown, _, _, css in found["tokens"] if css.endswith(" s"))
    assert supervised.startswith('{"object_1":·{')
    assert supervised.count("<|im_end|>") == 2
    assert max(found["bars"]) > 100


def test_hostile_captions_are_text_on_the_page_of_charts(browser: str, tmp_path: Path) -> None:
    captions = ["<script>errors.push('ran')</script>", "杯子，红色", '"><img src=x onerror=errors.push(1)>']
    objects = [{"desc": caption, "bbox_2d": [1, 2, 30, 40]} for caption in captions]
    record = {"images": ["a.png"], "width": 64, "height": 48, "objects": objects}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n", "utf-8")
    page = tmp_path / "report.html"
    assert main(["validate", str(tmp_path / "a.jsonl"), "--no-images", "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    probed = text.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{LOOK}</body>")
    (tmp_path / "probed.html").write_text(probed, "utf-8")
    found = opened(browser, tmp_path / "probed.html", tmp_path / "profile")
    assert (found["errors"], found["wide"]) == ([], 0)
    assert set(captions) <= set(found["labels"])
    assert max(found["bars"]) > 100

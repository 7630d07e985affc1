"""Owns putting an SVG file into a page: unique ids, colours that follow the page's theme, no caption twice."""

from __future__ import annotations

import re
from html import escape

from kvbench.report.style import GRID, INK, MUTED, PALETTE, PAPER, DrawnFigure

# Colour in the file -> variable of the page's style sheet.
_THEMED = {INK: "ink", MUTED: "muted", GRID: "rule", PAPER: "paper"} | {
    colour: f"line-{number}" for number, colour in enumerate(PALETTE)
}


def inline_svg(figure: DrawnFigure, drawing: str) -> str:
    """The figure's SVG as an element of an HTML page, cut above its notes, which the page has as text.

    `drawing` tells this drawing of the figure from others on the page: ids begin with it. The figure's title and
    caption become those of the element, for readers who do not see it.
    """
    prefix = f"{drawing}-{figure.name}"
    text = figure.svg.read_text(encoding="utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", text)
    text = re.sub("|".join(_THEMED), lambda found: f"var(--{_THEMED[found.group(0)]})", text)
    opening = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    if opening is None:
        raise ValueError(f"{figure.svg} has no viewBox")
    width, height = float(opening[1]), float(opening[2])
    element = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-labelledby="{prefix}-title" aria-describedby="{prefix}-desc" '
        f'viewBox="0 0 {width:g} {height * (1 - figure.notes_share):.2f}">'
        f'<title id="{prefix}-title">{escape(figure.title)}</title>'
        f'<desc id="{prefix}-desc">{escape(figure.caption)}</desc>'
    )
    return element + text[text.index(">", text.index("<svg")) + 1 :]

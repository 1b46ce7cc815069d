"""The legend of an overlay: a panel next to the picture, never on it, with the classes and their shares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

_PANEL: Color = (246, 246, 248)
_INK: Color = (28, 28, 32)
_FAINT: Color = (96, 96, 104)
_OUTLINE: Color = (140, 140, 148)
_SMALLEST_FONT = 13
_FONT_PER_SIDE = 0.027  # of the picture's geometric mean side
_COST_OF_BOTH_SIDES = 1.5  # a canvas that is both wider and higher than the picture leaves blank corners
_MOST_LINES = 40
_LONGEST_NAME = 32


@dataclass(frozen=True)
class Entry:
    """One line of a legend; ``color`` is None for a line that stands for several classes."""

    name: str
    share: float
    color: Color | None


@dataclass(frozen=True)
class _Metrics:
    """Lengths in pixels that follow from the font size and the widest name."""

    font: int
    name_width: int
    share_width: int

    @property
    def gap(self) -> int:
        return round(0.5 * self.font)

    @property
    def row(self) -> int:
        return round(1.6 * self.font)

    @property
    def cell(self) -> int:
        """Width of one line: swatch, name, share and the gaps between them."""
        return self.font + self.name_width + self.share_width + 3 * self.gap

    def panel(self, columns: int, rows: int) -> tuple[int, int]:
        """Width and height of a panel with a margin around its lines and a wider one between columns."""
        return columns * (self.cell + 3 * self.gap) - self.gap, rows * self.row + 2 * self.gap


@dataclass(frozen=True)
class _Layout:
    size: tuple[int, int]
    origin: tuple[int, int]
    rows: int

    def cost(self, picture: tuple[int, int]) -> float:
        """Area, more for blank corners, and more still for a long thin strip."""
        grows_both = self.size[0] > picture[0] and self.size[1] > picture[1]
        area = self.size[0] * self.size[1] * (_COST_OF_BOTH_SIDES if grows_both else 1.0)
        return area + (max(self.size) - max(picture)) ** 2


def add_legend(picture: Image.Image, entries: Sequence[Entry]) -> Image.Image:
    """A larger RGB image: ``picture`` unchanged at its top left, a panel of ``entries`` below or beside it.

    The panel goes where the whole stays compact. Its text grows with the picture, from 13 pixels up. Past 40
    entries the last line stands for the rest; names are cut at 32 characters.
    """
    lines = _shorten(entries)
    metrics = _measure(picture.size, lines)
    candidates = _layouts(picture.size, metrics, len(lines))
    layout = min(candidates, key=lambda candidate: candidate.cost(picture.size))
    canvas = Image.new("RGB", layout.size, _PANEL)
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        column, row = divmod(index, layout.rows)
        x = layout.origin[0] + metrics.gap + column * (metrics.cell + 3 * metrics.gap)
        y = layout.origin[1] + metrics.gap + row * metrics.row
        _draw_line(draw, line, x, y, metrics)
    return canvas


def _layouts(size: tuple[int, int], metrics: _Metrics, count: int) -> Iterator[_Layout]:
    """Every way to set ``count`` lines in columns, below the picture and to its right."""
    width, height = size
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        panel_width, panel_height = metrics.panel(columns, rows)
        yield _Layout((max(width, panel_width), height + panel_height), (0, height), rows)
        yield _Layout((width + panel_width, max(height, panel_height)), (width, 0), rows)


def _draw_line(draw: ImageDraw.ImageDraw, line: Entry, x: int, y: int, metrics: _Metrics) -> None:
    middle = y + metrics.row // 2
    if line.color is not None:
        top = middle - metrics.font // 2
        box = (x, top, x + metrics.font - 1, top + metrics.font - 1)
        draw.rectangle(box, fill=line.color, outline=_OUTLINE, width=max(1, metrics.font // 16))
    font = _font(metrics.font)
    draw.text((x + metrics.font + metrics.gap, middle), line.name, fill=_INK, font=font, anchor="lm")
    draw.text((x + metrics.cell, middle), _percent(line.share), fill=_FAINT, font=font, anchor="rm")


def _shorten(entries: Sequence[Entry]) -> list[Entry]:
    lines = [Entry(_printable(entry.name), entry.share, entry.color) for entry in entries[:_MOST_LINES]]
    if len(entries) > _MOST_LINES:
        rest = entries[_MOST_LINES - 1 :]
        lines[-1] = Entry(f"{len(rest)} more", sum(entry.share for entry in rest), None)
    return lines


def _printable(name: str) -> str:
    """``name`` on one line and of bounded length: it comes from a checkpoint."""
    line = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 3].rstrip()}..."


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _measure(size: tuple[int, int], lines: Sequence[Entry]) -> _Metrics:
    font_size = max(_SMALLEST_FONT, round(_FONT_PER_SIDE * math.sqrt(size[0] * size[1])))
    font = _font(font_size)
    return _Metrics(
        font_size,
        name_width=max(math.ceil(font.getlength(line.name)) for line in lines),
        share_width=max(math.ceil(font.getlength(_percent(line.share))) for line in lines),
    )


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

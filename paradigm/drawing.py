"""An SVG drawing that knows which places are taken, so that labels find free ones; and numbers written for a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

__all__ = ["ABOVE", "BELOW", "LEFT", "RIGHT", "Drawing", "format_count", "format_percent", "nice_ticks", "px", "svg_file", "text_width"]

ABOVE, BELOW, RIGHT, LEFT = (0, -1), (0, 1), (1, 0), (-1, 0)
_AROUND = (ABOVE, BELOW, RIGHT, LEFT, (1, -1), (-1, -1), (1, 1), (-1, 1))
_TEXT_COST, _DOT_COST, _LINE_COST = math.inf, 4.0, 1.0  # of each px² that a label would cover: text never


class Drawing:
    """An SVG under construction. Coordinates are px; colours come from CSS classes; all text and attributes are escaped."""

    def __init__(self, width: float, height: float, description: str, css_class: str):
        self.width, self.height = width, height
        self._parts = [
            f'<svg class="{css_class}" viewBox="0 0 {px(width)} {px(height)}" width="{px(width)}" height="{px(height)}" role="img" '
            f'aria-label="{escape(description)}">'
        ]  # fmt: skip
        self._taken: list[tuple[float, float, float, float, float]] = []  # x0 y0 x1 y1 and how bad it is to cover it

    def shape(self, tag: str, css_class: str, tip: str = "", **attributes: float | str) -> None:
        given = "".join(f' {k.replace("_", "-")}="{px(v) if isinstance(v, int | float) else escape(v)}"' for k, v in attributes.items())
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f'<{tag} class="{escape(css_class)}"{given}>{inside}</{tag}>')

    def line(self, css_class: str, points: Sequence[tuple[float, float]], tip: str = "", obstacle: bool = True) -> None:
        self.shape("path", css_class, tip, d="M" + "L".join(f"{px(x)},{px(y)}" for x, y in points))
        for (x0, y0), (x1, y1) in pairwise(points) if obstacle else ():
            pieces = max(1, int(math.hypot(x1 - x0, y1 - y0) / 5))
            for i in range(pieces + 1):
                x, y = x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces
                self._taken.append((x - 2, y - 2, x + 2, y + 2, _LINE_COST))

    def dot(self, css_class: str, x: float, y: float, radius: float, tip: str) -> None:
        self.shape("circle", css_class, tip, cx=x, cy=y, r=radius)
        self._taken.append((x - radius, y - radius, x + radius, y + radius, _DOT_COST))

    def text(self, x: float, y: float, content: str, css_class: str = "", anchor: str = "start", size: float = 12) -> None:
        self._parts.append(
            f'<text class="{escape(css_class)}" x="{px(x)}" y="{px(y)}" text-anchor="{anchor}" font-size="{px(size)}">{escape(content)}</text>'
        )
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * text_width(content, size)
        self._taken.append((x - shift, y - 0.8 * size, x - shift + text_width(content, size), y + 0.25 * size, _TEXT_COST))

    def place(self, anchors: Sequence[tuple[float, float]], content: str, css_class: str, limits: tuple[float, float, float, float],
              sides: Sequence[tuple[int, int]] = _AROUND, size: float = 12) -> bool:  # fmt: skip
        """Write a label beside one of `anchors`, where it covers least (earlier anchors, nearer places and earlier sides first).

        It stays inside `limits` (x0, y0, x1, y1). Returns: False if it would cover other text everywhere; nothing is written then.
        """
        width = text_width(content, size)
        best: tuple[float, float, float] | None = None
        choices = [(x, y, d, side) for x, y in anchors for d in (9, 17, 28, 40) for side in sides]
        for order, (x, y, distance, (dx, dy)) in enumerate(choices):
            x0 = x + dx * distance - (0 if dx > 0 else width if dx < 0 else width / 2)
            x0 = min(max(x0, limits[0]), limits[2] - width)
            y0 = y + dy * distance - (0 if dy > 0 else size if dy < 0 else size / 2)
            x1, y1, cost = x0 + width, y0 + size, order * 0.5
            if y0 < limits[1] or y1 > limits[3]:
                continue
            for a0, b0, a1, b1, weight in self._taken:
                if a0 < x1 and a1 > x0 and b0 < y1 and b1 > y0:
                    cost += weight * (min(x1, a1) - max(x0, a0)) * (min(y1, b1) - max(y0, b0))
            if math.isfinite(cost) and (best is None or cost < best[0]):
                best = (cost, x0, y0)
        if best is None:
            return False
        self.text(best[1], best[2] + 0.82 * size, content, css_class, size=size)
        return True

    def svg(self) -> str:
        return "".join(self._parts) + "</svg>"


def svg_file(svg: str, style: str) -> str:
    """A drawing for a page as a file of its own, with its CSS."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f"><style>{style}</style>", 1) + "\n"


def format_percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"


def format_count(count: float) -> str:
    """1_240_000 -> `1.24M`; three significant digits."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            digits = 0 if count >= 99.95 * size else 1 if count >= 9.995 * size else 2
            text = f"{count / size:.{digits}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix
    return f"{count:.0f}" if count >= 99.5 or count == round(count) else f"{count:.1f}"


def text_width(content: str, size: float) -> float:
    """A careful guess at a text's width in px in any sans-serif; SVG that is not yet shown cannot be measured."""
    return size * sum(0.32 if c in "il.,:;'|! ·" else 0.95 if c in "mwMW%" or ord(c) > 0x2E7F else 0.68 if c.isdigit() else 0.58 for c in content)


def nice_ticks(maximum: float) -> list[float]:
    """0 to at least `maximum` in four to six round steps of 1, 2 or 5 times a power of ten."""
    maximum = maximum if maximum > 0 and math.isfinite(maximum) else 1.0
    power = 10 ** math.floor(math.log10(maximum / 4))
    step = next(m * power for m in (1, 2, 5, 10) if math.ceil(maximum / (m * power) - 1e-9) <= 6)
    return [step * i for i in range(math.ceil(maximum / step - 1e-9) + 1)]


def px(value: float) -> str:
    """A coordinate with one decimal, without a trailing zero."""
    return f"{value:.1f}".removesuffix(".0")

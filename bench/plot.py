"""Plots as SVG text: lines over a logarithmic axis, and stacked bars. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment

COLOURS = ("#3465a4", "#cc6600", "#4e9a06", "#75507b", "#a40000", "#c4a000", "#06989a", "#555753", "#ad7fa8")
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="12">\n'
HEAD += (
    '<rect width="{w}" height="{h}" fill="white"/>\n<text x="20" y="22" font-size="15" font-weight="bold">{t}</text>\n'
)
TEXT = Environment(autoescape=True).from_string(
    '<text x="{{ x }}" y="{{ y }}" text-anchor="{{ anchor }}" fill="{{ fill }}">{{ text }}</text>\n'
)


def text(x: float, y: float, words: str, anchor: str = "start", fill: str = "#222") -> str:
    """Return one text element."""
    return TEXT.render(x=round(x, 1), y=round(y, 1), text=words, anchor=anchor, fill=fill)


def bars(title: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Return horizontal stacked bars: each row is (name, {part: seconds}), parts in their order."""
    width, left, scale_to = 860, 190, max(sum(parts.values()) for _name, parts in rows) or 1.0
    height = 60 + 40 * len(rows) + 20 * math.ceil(len({part for _n, parts in rows for part in parts}) / 3)
    out = [HEAD.format(w=width, h=height, t=title)]
    names = list(dict.fromkeys(part for _name, parts in rows for part in parts))
    for number, (name, parts) in enumerate(rows):
        y, x = 42 + 40 * number, float(left)
        out.append(text(left - 8, y + 17, name, "end"))
        for part, seconds in parts.items():
            long = seconds / scale_to * (width - left - 80)
            colour = COLOURS[names.index(part) % len(COLOURS)]
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{long:.1f}" height="26" fill="{colour}"/>\n')
            x += long
        out.append(text(x + 6, y + 17, f"{sum(parts.values()):.1f} s"))
    for number, part in enumerate(names):
        x, y = 20 + 280 * (number % 3), 58 + 40 * len(rows) + 20 * (number // 3)
        out.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[number % len(COLOURS)]}"/>\n')
        out.append(text(x + 18, y, part))
    return "".join([*out, "</svg>\n"])


@dataclass(frozen=True)
class Panel:
    """One diagram: what is on its vertical axis, and {line: {x: y}}; both axes are logarithmic."""

    title: str
    lines: Mapping[str, Mapping[float, float]]


def panels(title: str, across: str, what: Sequence[Panel]) -> str:
    """Return diagrams side by side, each with a dotted line of slope one: what grows in proportion runs along it."""
    wide, high = 300, 300
    width = 20 + len(what) * (wide + 20)
    out = [HEAD.format(w=width, h=high + 60, t=title)]
    out += [_panel(panel, across, 20 + number * (wide + 20), wide, high) for number, panel in enumerate(what)]
    return "".join([*out, "</svg>\n"])


def _panel(panel: Panel, across: str, left: float, wide: float, high: float) -> str:
    points = [(x, y) for line in panel.lines.values() for x, y in line.items() if y > 0]
    low_x, top_x = min(x for x, _y in points), max(x for x, _y in points)
    low_y, top_y = _decade(min(y for _x, y in points), down=True), _decade(max(y for _x, y in points), down=False)
    x0, y0, w, h = left + 45, high + 10, wide - 60, high - 60

    def at(x: float, y: float) -> tuple[float, float]:
        across_share = math.log(x / low_x) / (math.log(top_x / low_x) or 1.0)
        return x0 + across_share * w, y0 - math.log(y / low_y) / math.log(top_y / low_y) * h

    out = [text(left, 44, panel.title), text(x0 + w / 2, y0 + 32, across, "middle")]
    out.append(f'<path d="M{x0} {y0 - h}V{y0}H{x0 + w}" fill="none" stroke="#888"/>\n')
    y = low_y
    while y <= top_y * 1.001:
        out.append(f'<path d="M{x0} {at(low_x, y)[1]:.1f}h{w}" stroke="#ddd"/>\n')
        out.append(text(x0 - 5, at(low_x, y)[1] + 4, f"{y:g}", "end"))
        y *= 10
    for x in sorted({x for x, _y in points}):
        out.append(text(at(x, low_y)[0], y0 + 15, f"{x:g}", "middle"))
    first_x, first_y = min(points)
    ends = min(top_x, first_x * top_y / first_y)
    (ax, ay), (bx, by) = at(first_x, first_y), at(ends, first_y * ends / first_x)
    out.append(f'<path d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}" stroke="#bbb" stroke-dasharray="3 3"/>\n')
    for number, (name, line) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(line.items()) if y > 0]
        out.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" ')
        out.append(f'fill="none" stroke="{colour}" stroke-width="2"/>\n')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>\n' for x, y in places]
        out.append(text(x0 + 8, y0 - h + 14 + 15 * number, name, fill=colour))
    return "".join(out)


def _decade(value: float, *, down: bool) -> float:
    power = math.log10(value)
    return float(10 ** (math.floor(power) if down else math.ceil(power + 1e-9)))

"""The table of a sweep as a plot, an SVG of its own: a row a combination, its score and how sure that is."""

from __future__ import annotations

import json
from html import escape

from snn_client.reports.formats import visible
from snn_client.sweeps.table import Row, Table

MAX_ROWS = 64
ROW, LEFT, WIDTH, TOP, RIGHT = 22, 330, 480, 46, 110
COLOURS = {"best": "#0f766e", "last": "#3056d3", "early": "#8a9691"}
STYLE = "font: 13px system-ui, sans-serif; background: #fff"


def sweep_svg(table: Table) -> str:
    """Return the plot as SVG text: points are scores; lines their intervals or, of folds, one standard deviation."""
    rows = [row for row in table["rows"] if not row["failure"] and row["score"] is not None][:MAX_ROWS]
    ends = [end for row in rows for end in spread(row)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    wide = (high - low) or 1.0
    last = max((row["rung"] for row in rows), default=1)

    def x(value: float) -> float:
        return LEFT + WIDTH * (value - low) / wide

    height = TOP + ROW * len(rows) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" style="{STYLE}">',
        f'<text x="8" y="22" font-weight="600">Sweep {_text(table["sweep_id"], 60)}: score on what was held out</text>',
    ]
    for value in (low, (low + high) / 2, high):
        lines += [
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 8}" y2="{height - 24}" stroke="#dde4e1"/>',
            f'<text x="{x(value):.1f}" y="{height - 8}" text-anchor="middle" fill="#57645f">{value:.4g}</text>',
        ]
    for place, row in enumerate(rows):
        y, (begin, end), early = TOP + ROW * place + 6, spread(row), row["rung"] < last
        colour = COLOURS["early" if early else "best" if place == 0 else "last"]
        asked = ", ".join(f"{name} {json.dumps(value)}" for name, value in row["overrides"].items())
        score = row["score"] or 0.0
        lines += [
            f"<g><title>{_text(asked, 400)}: {score:.4f}, {row['epochs']:g} epochs, {row['usd']:.6f} USD</title>",
            f'<text x="8" y="{y + 4}">{row["combination"]}. {_text(asked, 42)}</text>',
            f'<line x1="{x(begin):.1f}" x2="{x(end):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{x(score):.1f}" cy="{y}" r="5" fill="{colour}"/>',
            f'<text x="{LEFT + WIDTH + 12}" y="{y + 4}" fill="{colour}">{score:.4f}{" early" if early else ""}</text>',
            "</g>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def spread(row: Row) -> tuple[float, float]:
    """Return between which scores a combination lies."""
    score, interval = row["score"] or 0.0, row["interval"]
    if row["std"] is not None:
        return score - row["std"], score + row["std"]
    return (interval["low"], interval["high"]) if interval else (score, score)


def _text(given: str, longest: int) -> str:
    shown = str(visible(given))
    return escape(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")

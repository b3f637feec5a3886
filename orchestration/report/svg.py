"""Small charts as inline SVG: no script, no font, no colour of their own (the page's CSS gives the classes theirs).

Belongs here: geometry and the text that stands for a chart where it cannot be seen. Does not belong here:
what is charted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Point:
    """One period of a line chart; ``value`` is None where there is nothing to show, ``instead`` says why."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    instead: str = ""


def line_with_band(points: Sequence[Point], *, width: int, height: int, label: str, identifier: str) -> str:
    """A line with its interval as a band and the base under each point; gaps stay gaps.

    Args:
        points: In order of time.
        width: Width of the drawing in its own units; the page scales it.
        height: Height likewise.
        label: What the chart shows, read aloud instead of it.
        identifier: Unique on the page.
    """
    left, right, top, bottom, inset = 40, 4, 12, 46, 20
    low, high = _scale(points)
    inner_width, inner_height = width - left - right, height - top - bottom
    step = (inner_width - 2 * inset) / max(len(points) - 1, 1)

    def x(index: int) -> float:
        return left + (inset + index * step if len(points) > 1 else inner_width / 2)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * inner_height

    parts = []
    tick = _tick(high - low)
    value = math.ceil(low / tick) * tick
    while value <= high:
        zero = " zero" if value == 0 else ""
        parts.append(
            f'<line class="grid{zero}" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{signed(value, 0)}</text>'
        )
        value += tick
    for run in _runs(points):
        upper = [f"{x(i):.1f},{y(p.high):.1f}" for i, p in run if p.high is not None]
        lower = [f"{x(i):.1f},{y(p.low):.1f}" for i, p in reversed(run) if p.low is not None]
        if len(run) > 1:
            parts.append(f'<polygon class="band" points="{" ".join(upper + lower)}"/>')
            path = " ".join(f"{x(i):.1f},{y(p.value):.1f}" for i, p in run if p.value is not None)
            parts.append(f'<polyline class="line" points="{path}"/>')
        elif upper and lower:
            index, point = run[0]
            parts.append(
                f'<line class="whisker" x1="{x(index):.1f}" x2="{x(index):.1f}" '
                f'y1="{y(point.low or 0):.1f}" y2="{y(point.high or 0):.1f}"/>'
            )
    every = max(1, math.ceil(40 / step)) if len(points) > 1 else 1
    for index, point in enumerate(points):
        if point.value is not None:
            parts.append(f'<circle class="dot" cx="{x(index):.1f}" cy="{y(point.value):.1f}" r="3.5"/>')
        # Counted from the end, so that the latest period always has its label.
        if (len(points) - 1 - index) % every == 0:
            base = escape(f"{point.n:,}" if point.n is not None else point.instead)
            name = escape(point.label)
            place = f'x="{x(index):.1f}" text-anchor="middle"'
            parts.append(f'<text class="tick" {place} y="{height - 26}">{name}</text>')
            parts.append(f'<text class="base" {place} y="{height - 9}">{base}</text>')
    parts.append(f'<text class="base" x="{left - 8}" y="{height - 9}" text-anchor="end">n =</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{identifier}">'
        f'<title id="{identifier}">{escape(label)}</title>{"".join(parts)}</svg>'
    )


def interval(
    value: float, low: float | None, high: float | None, *, minimum: float, maximum: float, has_ends: bool = False
) -> str:
    """A dot with its interval on a fixed scale; decoration beside a number that is written out.

    Args:
        value: Place of the dot.
        low: Lower bound of the interval.
        high: Upper bound.
        minimum: Left end of the scale.
        maximum: Right end.
        has_ends: Whether the ends of the scale are labelled.
    """
    width, middle = 120.0, 8

    def x(number: float) -> float:
        share = (min(max(number, minimum), maximum) - minimum) / (maximum - minimum)
        return 4 + share * (width - 8)

    parts = [f'<line class="grid" x1="4" x2="{width - 4:.0f}" y1="{middle}" y2="{middle}"/>']
    if low is not None and high is not None:
        parts.append(f'<line class="whisker" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{middle}" r="2.6"/>')
    if has_ends:
        for number, anchor in ((minimum, "start"), (maximum, "end")):
            place = f'x="{x(number) + (-4 if anchor == "start" else 4):.1f}" y="19" text-anchor="{anchor}"'
            parts.append(f'<text class="end" {place}>{signed(number, 0)}</text>')
    height = 22 if has_ends else 16
    return f'<svg class="interval" viewBox="0 0 {width:.0f} {height}" aria-hidden="true">{"".join(parts)}</svg>'


def bar(share: float) -> str:
    """A bar of ``share`` (0 to 1) of the full width; decoration beside a number that is written out."""
    width = 160 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" viewBox="0 0 160 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="160" height="14"/><rect class="fill" width="{width:.1f}" height="14"/></svg>'
    )


def columns(values: Sequence[float | None], *, label: str, identifier: str, highest: str) -> str:
    """One column a value on a scale from zero; the highest value is written at the top, gaps stay gaps.

    Args:
        values: In order of time, none negative; None where nothing was measured.
        label: What the chart shows, read aloud instead of it.
        identifier: Unique on the page.
        highest: The highest value as text.
    """
    width, height, top, gap = 280.0, 110, 18, 3.0
    most = max((value for value in values if value is not None), default=0.0) or 1.0
    each = (width + gap) / max(len(values), 10)
    parts = [f'<line class="grid zero" x1="0" x2="{width:.0f}" y1="{height}" y2="{height}"/>']
    for index, value in enumerate(values):
        if value is not None:
            tall = value / most * (height - top)
            place = f'x="{index * each:.1f}" y="{height - tall:.1f}" width="{each - gap:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect class="fill" {place}/>')
    parts.append(f'<line class="grid" x1="0" x2="{width:.0f}" y1="{top}" y2="{top}"/>')
    parts.append(f'<text class="base" x="0" y="{top - 5}">{escape(highest)}</text>')
    return (
        f'<svg class="columns" viewBox="0 0 {width:.0f} {height + 2}" role="img" aria-labelledby="{identifier}">'
        f'<title id="{identifier}">{escape(label)}</title>{"".join(parts)}</svg>'
    )


def signed(value: float, digits: int) -> str:
    """A number with a true minus sign; never a negative zero."""
    text = f"{abs(value):.{digits}f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) != 0 else text


def _runs(points: Sequence[Point]) -> list[list[tuple[int, Point]]]:
    """Stretches without a gap."""
    runs: list[list[tuple[int, Point]]] = [[]]
    for index, point in enumerate(points):
        if point.value is None:
            runs.append([])
        else:
            runs[-1].append((index, point))
    return [run for run in runs if run]


def _scale(points: Sequence[Point]) -> tuple[float, float]:
    numbers = [n for p in points for n in (p.value, p.low, p.high) if n is not None]
    if not numbers:
        return 0.0, 100.0
    low, high = math.floor(min(numbers) / 10) * 10, math.ceil(max(numbers) / 10) * 10
    while high - low < 40:
        high += 10
        low -= 10
    return max(low, -100.0), min(high, 100.0)


def _tick(span: float) -> int:
    return 10 if span <= 50 else 20 if span <= 100 else 50

"""What runs leave behind: `bench/results/NAME.json`, and `chart.svg` of all bridges among them."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

WIDTH, LABEL, ROW, BAR, TOP = 820, 130, 30, 18, 46
PATH_GAP = 34
COLOURS = {"gateway": "#0b7285"}
OTHER = "#adb5bd"
TITLES = {
    "opus-pcmu": "Browser (Opus, SRTP) to SIP (G.711, RTP), transcoded",
    "pcmu-pcmu": "Browser (G.711, SRTP) to SIP (G.711, RTP), relayed",
    "opus-agent24k": "Browser (Opus, SRTP) to an agent (24 kHz PCM, WebSocket)",
}


def save(name: str, summaries: list[dict[str, Any]], directory: Path = RESULTS) -> Path:
    """Write the summaries of a run, and draw the chart of all bridges anew.

    Returns:
        The file of this run.
    """
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(summaries, indent=1) + "\n")
    bridges: dict[str, list[dict[str, Any]]] = {}
    for each in TITLES:
        file = directory / f"bridge-{each}.json"
        if file.exists():
            bridges[each] = json.loads(file.read_text())
    if bridges:
        (directory / "chart.svg").write_text(chart(bridges))
    return path


def chart(bridges: dict[str, list[dict[str, Any]]]) -> str:
    """Bars of CPU time per call-second, by path and system, as SVG."""
    parts: list[str] = []
    y = TOP
    for path, summaries in bridges.items():
        measured = [each for each in summaries if "error" not in each]
        parts.append(_text(0, y, TITLES[path], weight=600))
        y += 14
        longest = max((each["cpu_ms_per_call_second"] for each in measured), default=1.0)
        for each in sorted(measured, key=lambda each: float(each["cpu_ms_per_call_second"])):
            parts += _bar(y, each, longest)
            y += ROW
        y += PATH_GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" font-family="system-ui, sans-serif" font-size="14" role="img"'
        ' aria-label="CPU time per call, by system">'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    )
    title = _text(0, 18, "CPU milliseconds per second of a call (less is better)", weight=700)
    return "\n".join([head, title, *parts, "</svg>"]) + "\n"


def _bar(y: int, summary: dict[str, Any], longest: float) -> list[str]:
    name, value = summary["system"], float(summary["cpu_ms_per_call_second"])
    width = (WIDTH - LABEL - 250) * value / longest
    told = f"{value:.1f} ms · {summary['calls']} calls at {summary['core_percent']:.0f} % of a core"
    middle = y + BAR - 4
    return [
        _text(LABEL - 8, middle, name, anchor="end"),
        f'<rect x="{LABEL}" y="{y}" width="{max(2.0, width):.1f}" height="{BAR}" rx="3"'
        f' fill="{COLOURS.get(name, OTHER)}"/>',
        _text(LABEL + max(2.0, width) + 6, middle, told, size=12),
    ]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 14, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}"'
        f' font-weight="{weight}" fill="#212529">{escape(text)}</text>'
    )

"""What runs leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from bench.results import save

GATEWAY = {
    "system": "gateway",
    "calls": 120,
    "core_percent": 70.2,
    "cpu_ms_per_call_second": 5.5,
}
OTHER = {**GATEWAY, "system": "<other>", "calls": 40, "cpu_ms_per_call_second": 16.5}
BROKEN = {"system": "broken", "error": "did not start"}


def test_results_are_kept_and_drawn(tmp_path: Path) -> None:
    path = save("bridge-opus-pcmu", [OTHER, BROKEN, GATEWAY], tmp_path)

    drawn = ElementTree.fromstring((tmp_path / "chart.svg").read_text())
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert json.loads(path.read_text()) == [OTHER, BROKEN, GATEWAY]
    assert [text for text in texts if text in ("gateway", "<other>", "broken")] == [
        "gateway",
        "<other>",
    ]
    assert "5.5 ms · 120 calls at 70 % of a core" in texts


def test_bars_are_as_long_as_what_they_show(tmp_path: Path) -> None:
    save("bridge-opus-pcmu", [OTHER, GATEWAY], tmp_path)

    drawn = ElementTree.fromstring((tmp_path / "chart.svg").read_text())
    _background, ours, theirs = drawn.iter("{http://www.w3.org/2000/svg}rect")
    assert abs(float(theirs.attrib["width"]) / float(ours.attrib["width"]) - 3.0) < 0.02


def test_what_is_no_bridge_is_not_drawn(tmp_path: Path) -> None:
    save("delay-70", [GATEWAY], tmp_path)

    assert not (tmp_path / "chart.svg").exists()

"""Write docs/twiml.md from the tests' marks: `python docs/make_twiml.py`.

A test says what it shows by `@pytest.mark.twiml("Dial timeout")`; `differs="…"` says how that is
otherwise than at Twilio, `missing=True` that it is not there, and that the test shows what happens
instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs/twiml.md"
HEAD = ROOT / "docs/twiml.head.md"


class Mark(NamedTuple):
    """What one test shows."""

    feature: str
    differs: str
    is_missing: bool
    test: str
    "What happens, in the words of the test's name."
    file: str


def render() -> str:
    """The page."""
    marks = sorted(set(find_marks()))
    lines = [HEAD.read_text(encoding="utf-8")]
    lines += [
        "## What is there",
        "",
        "| Of Twilio | How it differs here | Shown by |",
        "|---|---|---|",
    ]
    for feature, group in _grouped(mark for mark in marks if not mark.is_missing):
        differs = "; ".join(sorted({mark.differs for mark in group if mark.differs}))
        lines.append(f"| {feature} | {differs} | {_tests(group)} |")
    lines += ["", "## What is not", "", "| Of Twilio | What happens | Shown by |", "|---|---|---|"]
    for feature, group in _grouped(mark for mark in marks if mark.is_missing):
        happens = "; ".join(sorted({mark.test for mark in group}))
        lines.append(f"| {feature} | {happens} | {_tests(group)} |")
    return "\n".join([*lines, ""])


def find_marks() -> Iterator[Mark]:
    """Every mark of every test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.twiml(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _marks_of(node, path)


def _marks_of(node: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> Iterator[Mark]:
    for call in node.decorator_list:
        if not isinstance(call, ast.Call) or not ast.unparse(call.func).endswith("mark.twiml"):
            continue
        more = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
        words = node.name.removeprefix("test_").replace("_", " ")
        yield Mark(
            ast.literal_eval(call.args[0]),
            more.get("differs", ""),
            more.get("missing", False),
            words,
            str(path.relative_to(ROOT)),
        )


def _grouped(marks: Iterator[Mark]) -> Iterator[tuple[str, list[Mark]]]:
    groups: dict[str, list[Mark]] = {}
    for mark in marks:
        groups.setdefault(mark.feature, []).append(mark)
    yield from groups.items()


def _tests(group: list[Mark]) -> str:
    files = sorted({mark.file for mark in group})
    return ", ".join(f"[{Path(file).stem}](../{file})" for file in files)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")

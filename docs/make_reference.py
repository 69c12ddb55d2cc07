"""Write docs/configuration.md from gateway/document.py: `python docs/make_reference.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "gateway/document.py"
TARGET = ROOT / "docs/configuration.md"

HEAD = """# Configuration

One TOML file: `gateway serve --config FILE`, `gateway check FILE`. What is left out has the default
shown; an unknown key is an error that names the nearest known one. Secrets come from the
environment, by the name of a variable. `GATEWAY_SECTION_KEY` sets a key of a plain section:
`GATEWAY_HTTP_LISTEN=127.0.0.1:9000`.

The [embedded default](../gateway/default.toml) is a good start. This page is made from
`gateway/document.py` by `docs/make_reference.py`.
"""


def render() -> str:
    """The page."""
    nodes = ast.parse(SOURCE.read_text(encoding="utf-8")).body
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    sections = [node for node in classes if (ast.get_docstring(node) or "").startswith("[")]
    return "\n".join([HEAD, *map(_section, sections)])


def _section(node: ast.ClassDef) -> str:
    name, _, meaning = (ast.get_docstring(node) or "").partition(": ")
    lines = [f"## {name}", "", meaning[:1].upper() + meaning[1:], ""]
    lines += ["| Key | Default | Meaning |", "|---|---|---|"]
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            key = field.target.id.rstrip("_")
            lines.append(f"| `{key}` | {_default(field)} | {_meaning(after)} |")
    return "\n".join([*lines, ""])


def _default(field: ast.AnnAssign) -> str:
    value = field.value
    if isinstance(value, ast.Call) and "default_factory=dict" in ast.unparse(value):
        return "`{}`"
    if isinstance(value, ast.Call):
        value = next((word.value for word in value.keywords if word.arg == "default"), None)
    if value is None:
        return "needed"
    if isinstance(value, ast.Constant) and value.value is None:
        return ""
    shown = ast.literal_eval(value)
    if isinstance(shown, tuple):
        return "`[" + ", ".join(f'"{each}"' for each in shown) + "]`"
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    return f'`"{shown}"`' if isinstance(shown, str) else f"`{shown}`"


def _meaning(after: ast.stmt | None) -> str:
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return " ".join(str(after.value.value).split()).replace("|", "\\|")
    return ""


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")

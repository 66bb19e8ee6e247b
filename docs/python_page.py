"""The page of what `anthem_search` exports: signatures and docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import anthem_search
from markdown_page import GENERATED_NOTE, escape_cell, escape_html, format_markdown_table, join_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_WIDTH = 80
SECTION_NAMES = ("Args", "Attributes", "Returns", "Raises", "Yields")
PYTHON_INTRO = f"""# Python

{GENERATED_NOTE}

Everything that `anthem_search` exports. Other modules are not part of the interface, and may change in any release."""


def render_python() -> str:
    """The page of everything that `anthem_search` exports."""
    parts = [PYTHON_INTRO]
    names = [name for name in anthem_search.__all__ if name != "__version__"]
    errors = [name for name in names if name.endswith("Error")]
    shown: set[object] = set()
    for name in names:
        if name not in errors:
            parts += [f"## `{name}`", *_render_object(name, getattr(anthem_search, name), shown)]
    classes = [getattr(anthem_search, name) for name in errors]
    rows = [(f"`{each.__name__}`", str(each.exit_code), escape_cell(inspect.getdoc(each) or "")) for each in classes]
    parts += [
        "## Errors",
        "Each is an `AnthemError`.",
        format_markdown_table(("Error", "Exit code of a command", ""), rows),
    ]
    return join_page(parts)


def _render_object(name: str, value: Any, shown: set[object]) -> Iterator[str]:  # noqa: ANN401 (a class or a function)
    """A class with its members, without those that it shares with a class that was shown before."""
    yield format_signature(name, value)
    yield render_docstring(inspect.getdoc(value) or "")
    members = list(list_members(value)) if inspect.isclass(value) else []
    if any(target in shown for _, target in members):
        yield "The methods and their arguments are those of the class above."
    for member, target in members:
        if target in shown:
            continue
        shown.add(target)
        yield f"### `{name}.{member}`"
        if not isinstance(target, property):
            yield format_signature(f"{'await ' if inspect.iscoroutinefunction(target) else ''}{member}", target)
        yield render_docstring(inspect.getdoc(target) or "")


def list_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class that have a docstring, in the order of their definition."""
    seen: set[str] = set()
    for owner in cls.__mro__[:-1]:
        for name, member in vars(owner).items():
            target = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if name.startswith("_") or name in seen or not (inspect.isfunction(target) or isinstance(target, property)):
                continue
            if owner.__module__.startswith("anthem"):
                seen.add(name)
                yield name, target


def render_docstring(text: str) -> str:
    """A docstring in Google's style as Markdown: each section becomes a list."""
    lines: list[str] = []
    section, indent = "", 0
    for line in text.splitlines():
        stripped = line.strip()
        header = re.fullmatch(rf"({'|'.join(SECTION_NAMES)}):", stripped)
        if header:
            section, indent = header[1], 0
            lines += ["", f"**{section}**", ""]
        elif not section or not stripped:
            lines.append(escape_html(line))
        else:
            indent = indent or len(line) - len(line.lstrip())
            lines.append(_render_entry(stripped, is_new=len(line) - len(line.lstrip()) == indent))
    return "\n".join(lines).strip()


def _render_entry(text: str, *, is_new: bool) -> str:
    """A line of a section: the start of an entry, or its continuation."""
    named = re.fullmatch(r"(\*{0,2}\w+): (.*)", text) if is_new else None
    if named:
        return f"- `{named[1]}`: {escape_html(named[2])}"
    return f"- {escape_html(text)}" if is_new else f"  {escape_html(text)}"


def format_signature(name: str, value: Callable[..., Any]) -> str:
    """Signature of a function or class as a code block, one parameter on each line if it is long."""
    signature = inspect.signature(value)
    parameters = [
        item.replace(annotation=UnquotedText(item.annotation), default=_shown_default(item.default))
        for item in signature.parameters.values()
        if item.name not in ("self", "cls")
    ]
    result = signature.return_annotation
    is_class = inspect.isclass(value) or result is inspect.Signature.empty
    signature = signature.replace(
        parameters=parameters, return_annotation=inspect.Signature.empty if is_class else UnquotedText(result)
    )
    text = f"{name}{signature}"
    if len(text) > LINE_WIDTH:
        inside, closing, tail = text.removeprefix(f"{name}(").rpartition(")")
        text = "\n".join([f"{name}(", *(f"    {part}," for part in split_parameters(inside)), closing + tail])
    return f"```text\n{text}\n```"


class UnquotedText:
    """An annotation that a signature shows without quotation marks."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __repr__(self) -> str:
        """The annotation exactly as written in the source."""
        return str(self.text)


def _shown_default(default: object) -> object:
    return UnquotedText("…") if repr(default).startswith("<") and default is not inspect.Parameter.empty else default


def split_parameters(text: str) -> list[str]:
    """The parameters in a signature, split at the commas that are not inside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]

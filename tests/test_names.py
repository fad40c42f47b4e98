"""Names are the field's words: some that once stood for ten things each are not used at all."""

import ast
import re
from pathlib import Path

import pytest

import byteplus_trace

PACKAGE = Path(byteplus_trace.__file__).parent
NOT_USED = {"told", "said", "given", "word", "words", "way", "ways", "came", "left", "tells", "telling"}


def names_of(path: Path):
    """Every name that a module defines or assigns, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_names_say_what_a_thing_is(path):
    names = [path.stem, *(f"{name} in line {line}" for name, line in names_of(path))]
    unclear = [
        name
        for name in names
        if NOT_USED & {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name.split(" ")[0])}
    ]

    assert not unclear

"""Names are the field's words: some that once stood for ten things each are not used at all."""

import ast
import re
from pathlib import Path

import byteplus_trace

PACKAGE = Path(byteplus_trace.__file__).parent
ROOT = Path(__file__).parents[1]
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


def test_names_say_what_a_thing_is():
    unclear = [
        f"{path}:{line}: {name}"
        for folder in (PACKAGE, *(ROOT / name for name in ("benchmarks", "examples", "scripts", "tests")))
        for path in folder.rglob("*.py")
        for name, line in [(path.stem, 0), *names_of(path)]
        # A test's name is a sentence.
        if not name.startswith("test_")
        and NOT_USED & {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    ]

    assert [] == unclear

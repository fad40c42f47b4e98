"""The public surface: what is promised is there, documented, cheap to import and of one version."""

import ast
import importlib
import inspect
import os
import pickle
import re
import subprocess
import sys
import textwrap
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import pytest

import byteplus_trace

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("anyio", "asyncio", "httpx", "httpx2", "msgspec", "opentelemetry", "prometheus_client", "wrapt")
MODULES = ("prometheus", "testing", "httpx2")


def test_the_names_are_sorted_and_each_stands_once():
    names = byteplus_trace.__all__

    assert sorted(set(names)) == names


def test_every_public_name_is_announced():
    """What `__init__` binds or serves lazily without an underscore, its typing imports aside."""
    tree = ast.parse(Path(byteplus_trace.__file__).read_text(encoding="utf-8"))
    bound = set()
    for node in tree.body:
        match node:
            case ast.ImportFrom(level=1, names=names):
                bound |= {each.asname or each.name for each in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
    bound |= set(byteplus_trace._LAZY)

    bound -= {"DEFAULT_REGION"}  # a default shown in signatures
    assert {name for name in bound if not name.startswith("_")} | {"__version__"} == set(
        byteplus_trace.__all__
    )


@pytest.mark.parametrize("name", byteplus_trace.__all__)
def test_a_public_name_resolves_and_explains_itself(name):
    found = getattr(byteplus_trace, name)

    if name != "__version__":
        assert (inspect.getdoc(found) or "").strip()
        assert not (found.__doc__ or "").startswith(f"{name}("), (
            "a dataclass's own signature explains nothing"
        )


def test_dir_shows_the_public_names_and_nothing_else():
    assert byteplus_trace.__all__ == dir(byteplus_trace)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'instument'"):
        _ = byteplus_trace.instument


@pytest.mark.parametrize("module", MODULES)
def test_public_modules_announce_names_that_exist_and_explain_themselves(module):
    module = importlib.import_module(f"byteplus_trace.{module}")

    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert (inspect.getdoc(getattr(module, name)) or "").strip()


def members():
    """The methods and properties that public classes define themselves, with the class they belong to."""
    modules = [byteplus_trace, *(importlib.import_module(f"byteplus_trace.{name}") for name in MODULES)]
    classes = {getattr(module, name) for module in modules for name in module.__all__}
    for cls in sorted(filter(inspect.isclass, classes), key=lambda each: each.__qualname__):
        for name, member in vars(cls).items():
            made = inspect.isfunction(member) or isinstance(member, (property, classmethod, cached_property))
            if made and not name.startswith("_"):
                yield pytest.param(cls, name, id=f"{cls.__name__}.{name}")


@pytest.mark.parametrize(("cls", "name"), list(members()))
def test_a_public_member_explains_itself(cls, name):
    assert (getattr(cls, name).__doc__ or "").strip()


def test_every_field_of_an_exchange_is_explained():
    tree = ast.parse(textwrap.dedent(inspect.getsource(byteplus_trace.Exchange)))
    body = tree.body[0].body
    explained = [
        field.target.id
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value.value, str)
    ]

    assert list(byteplus_trace.Exchange.__struct_fields__) == explained


def test_every_argument_of_instrument_is_a_setting_and_is_explained():
    from byteplus_trace._config import NAMES

    arguments = list(inspect.signature(byteplus_trace.instrument).parameters)
    explained = re.findall(
        r"^    (\w+): ",
        inspect.getdoc(byteplus_trace.instrument).partition("Args:")[2].partition("Raises:")[0],
        re.MULTILINE,
    )

    assert list(NAMES) == arguments
    assert arguments == explained


def test_the_transports_of_the_two_libraries_have_the_same_shape():
    for name in ("ModelArkTransport", "AsyncModelArkTransport"):
        one, other = getattr(byteplus_trace, name), getattr(byteplus_trace.httpx2, name)
        assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters)


def test_importing_the_package_imports_nothing_heavy():
    program = f"import sys, byteplus_trace; print([n for n in {HEAVY!r} if n in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()


def test_without_a_policy_nothing_of_routing_is_imported():
    program = (
        "import sys, byteplus_trace; byteplus_trace.instrument()\n"
        "print([n for n in sys.modules if n.startswith('byteplus_trace._routing')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stdout.strip()


def test_the_package_says_that_it_is_typed():
    assert (Path(byteplus_trace.__file__).parent / "py.typed").is_file()


def test_the_changelog_knows_this_version():
    """A release has its own section; on the way to one there is `[Unreleased]`."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## \[(.+?)\]", text, re.MULTILINE)[1]

    assert latest in {"Unreleased", byteplus_trace.__version__}


@pytest.mark.parametrize("error", [byteplus_trace.SettingError, byteplus_trace.ByteplusTraceError])
def test_an_error_is_named_as_it_is_imported(error):
    assert "byteplus_trace" == error.__module__
    assert error is pickle.loads(pickle.dumps(error))

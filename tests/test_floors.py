"""The house: an import goes to a lower floor or stays inside its own folder."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import byteplus_trace

PACKAGE = Path(byteplus_trace.__file__).parent

FLOORS = {
    "_version": 0, "_apis": 0, "_errors": 0, "_facts": 0, "_regions": 0, "_scope": 0, "_instruments": 0, "_forks": 0, "_log": 0,
    "_wire": 1, "_policy": 1, "_routing": 1, "_classify": 1, "_forwarding": 1, "_prices": 1, "_pricefile": 1, "_telemetry": 1, "prometheus": 1,
    "_call_end": 2, "_observer": 2, "_background": 2, "_recognise": 2, "_config": 2,
    "_edge": 3,
    "": 4, "_httpx": 4, "httpx2": 4, "instrumentor": 4,
    "_cli": 5, "_watch": 5, "__main__": 5, "_fake": 5, "testing": 5, "pytest_plugin": 5, "dashboards": 5,
}  # fmt: skip
WINGS = (
    {"_wire"},
    {"_policy", "_routing", "_classify", "_forwarding", "_prices", "_pricefile"},
    {"_telemetry", "prometheus"},
)
RECORDING = WINGS[2]

# Floor 4 registers its classes with the edge, which builds clients' transports from them. A notebook asks an
# `Exchange` how it looks, which the telemetry wing knows.
UPWARD = {("_edge", ""), ("_facts", "_telemetry")}


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0] if module else ""


@cache
def imports_of(path: Path):
    """Every import of a file, as (package, module, line, only for type checkers)."""
    return list(_imports_of(path))


def _imports_of(path: Path):
    here = path.relative_to(PACKAGE).with_suffix("").parts
    package = list(here[:-1])
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield "byteplus_trace", ".".join([*base, name]), node.lineno, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield (
                node.module.split(".")[0],
                node.module.partition(".")[2],
                node.lineno,
                id(node) in typing_only,
            )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.name.split(".")[0],
                    alias.name.partition(".")[2],
                    node.lineno,
                    id(node) in typing_only,
                )


def test_the_drawing_of_the_house_names_every_room():
    page = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = {}
    for floor, rooms in re.findall(r"^(\d)  \w+ +(.+)$", page, re.MULTILINE):
        names = re.findall(r"\w+", re.sub(r"\(.*?\)", "", rooms))
        drawn |= {"" if name == "__init__" else name: int(floor) for name in names}

    assert drawn == FLOORS


FILES = sorted(PACKAGE.rglob("*.py"))


def all_imports():
    """Every import that is done at run time: the room it stands in, its place, the package and the module."""
    for path in FILES:
        file = path.relative_to(PACKAGE)
        here = room_of(".".join(file.with_suffix("").parts).removesuffix("__init__"))
        for package, module, line, typing_only in imports_of(path):
            if not typing_only:
                yield here, f"{file}:{line}", package, module


def test_imports_go_down():
    broken = []
    for here, place, package, module in all_imports():
        there = room_of(module) if room_of(module) in FLOORS else ""
        if package != "byteplus_trace" or there == here or (here, there) in UPWARD:
            continue
        same_wing = any({here, there} <= wing for wing in WINGS)
        if FLOORS[there] > FLOORS[here] or (FLOORS[there] == FLOORS[here] == 1 and not same_wing):
            broken.append(f"{place} imports {module}")

    assert [] == broken


def test_only_the_telling_wing_knows_its_backends_and_only_the_edge_an_http_client():
    broken = []
    for here, place, package, _module in all_imports():
        if FLOORS[here] > 3:
            continue
        if package in {"opentelemetry", "prometheus_client"} and here not in RECORDING:
            broken.append(f"{place} imports {package}")
        if package in {"httpx", "httpx2"} or (package == "asyncio" and FLOORS[here] < 3):
            broken.append(f"{place} imports {package}")

    assert [] == broken


def file_of(module: str) -> str | None:
    """The file that an import reads, as a dotted name; None where that is a name and no module."""
    names = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for path in FILES
    }
    while module and module not in names:
        module = module.rpartition(".")[0]
    return module or None


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count; those for type checkers alone do not."""
    imported: dict[str, set[str]] = {}
    for path in FILES:
        here = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        imported[here] = set()
        for package, module, _line, typing_only in imports_of(path):
            there = file_of(module) if package == "byteplus_trace" and not typing_only else None
            if there is not None and (room_of(here), room_of(there)) not in UPWARD:
                imported[here].add(there)

    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))

"""
The documentation is true: its code runs as it is written, its policies load, its links and names exist.

A block that cannot run here says why: `<!-- not run: the reason -->` on the line above it. The blocks of a page are run
in their order, as a reader pastes them: what one needs it has itself, or from one before it. A fake ModelArk stands where
the regions are.
"""

import ast
import dataclasses
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import httpx2
import openai
import prometheus_client
import pytest
import yaml

import byteplus_trace
from byteplus_trace import _regions, pytest_plugin
from byteplus_trace._cli import COMMANDS, main
from byteplus_trace._cli.program import KEYS, simulated
from byteplus_trace._config import configure
from byteplus_trace._edge.instrumentation import Instrumentation
from byteplus_trace._instruments import INSTRUMENTS
from byteplus_trace._policy import policy, targets
from byteplus_trace._telemetry import attributes, recorder, semconv
from byteplus_trace.pytest_plugin import modelark, modelark_exchanges  # noqa: F401 - fixtures for documented tests
from byteplus_trace.testing import ModelArk

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CLIENTS = (httpx.Client, httpx2.Client, openai.OpenAI)
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(*languages):
    """The blocks of these languages that are to be run, each with the place where it stands."""
    return list(_blocks(languages))


def _blocks(languages):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found["language"] in languages and not found["why"]:
                line = text.count("\n", 0, found.start("code")) + 1
                place = f"{page.relative_to(ROOT)}:{line}"
                yield pytest.param(page, line, found["code"], id=place)


@pytest.fixture
def here(monkeypatch):
    """This process as `byteplus-trace simulate -- ...` would start it; nothing is exported."""
    with ModelArk() as ark:
        for name, value in simulated(ark, {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        monkeypatch.chdir(ROOT)
        _regions.simulated_regions.cache_clear()
        yield ark
        byteplus_trace.uninstrument()
    monkeypatch.undo()
    _regions.simulated_regions.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_code_runs_as_it_is_pasted(here, request, monkeypatch, page):
    namespace, made = {"__name__": "documented"}, []
    for block in blocks("python"):
        where, line, code = block.values
        if where != page:
            continue
        byteplus_trace.uninstrument()
        monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
        monkeypatch.setattr(Instrumentation, "_default", None)

        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)

        for name in [name for name in namespace if name.startswith("test_")]:
            test = namespace.pop(name)
            wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
            test(**{fixture: request.getfixturevalue(fixture) for fixture in wanted})
        made += [each for each in namespace.values() if isinstance(each, CLIENTS)]
    for each in made:
        each.close()


@pytest.mark.parametrize(("page", "line", "code"), blocks("toml", "json"))
def test_documented_policies_and_settings_load(tmp_path, page, line, code):
    file = tmp_path / f"documented.{'json' if code.lstrip().startswith('{') else 'toml'}"
    file.write_text(code, encoding="utf-8")

    # The pages say of prices that they stand in a file of their own.
    variable = "BYTEPLUS_TRACE_PRICES" if "[[price]]" in code else "BYTEPLUS_TRACE_CONFIG"
    configure({}, {**dict.fromkeys(KEYS, "key"), variable: str(file)})


def test_a_documented_price_file_is_written_as_the_page_says():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"Write them into `prices\.toml`.*?```toml\n(.*?)```", page, re.DOTALL)

    assert {"price", "discount"} == set(tomllib.loads(code))


@pytest.mark.parametrize(("page", "line", "code"), blocks("yaml"))
def test_documented_yaml_is_yaml(page, line, code):
    assert yaml.safe_load(code)


def test_the_reference_agrees_with_the_code():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def links():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http:", "https:", "mailto:")):
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)} -> {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_links_lead_somewhere(page, target):
    file, _, anchor = target.partition("#")
    there = page if not file else (page.parent / file).resolve()

    assert there.exists()
    if anchor:
        assert anchor in {
            slug(heading)
            for heading in re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        }


def attributes_in_code():
    """Every attribute name that the telling wing can set."""
    found = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and name not in {"OWN", "METADATA"}
    }
    for module in (attributes, recorder):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            match node:
                case ast.BinOp(left=ast.Name(id="OWN"), right=ast.Constant(value=str(name))):
                    found.add(semconv.OWN + name)
                case ast.Constant(value=str(name)) if re.fullmatch(r"gen_ai(\.\w+)+", name):
                    found.add(name)
    return {*found, semconv.METADATA + "<key>"}


def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_explains_exactly_the_attributes_that_the_code_sets():
    explained = [each.name for each in reference().ATTRIBUTES]

    assert sorted(attributes_in_code()) == sorted(explained)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_series_and_attributes_in_the_documentation_exist(page):
    text = page.read_text(encoding="utf-8")
    series = {each.name for each in INSTRUMENTS}
    others = {"modelark_exchanges"} & set(vars(pytest_plugin))
    recorded = (ROOT / "grafana" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    for rule in set(re.findall(r"\b\w+:modelark_\w+:\w+", text)):
        assert f'record: "{rule}"' in recorded or f"record: {rule}\n" in recorded
    for name in set(re.findall(r"(?<!:)\bmodelark_\w+", text)):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in series | others or name in series
    known = attributes_in_code()
    for name in set(re.findall(r"byteplus\.modelark\.[a-z_.]*[a-z_]", text)):
        assert name in known or name == "byteplus.modelark.metadata" or name.startswith(semconv.METADATA)


@pytest.mark.parametrize("command", [*COMMANDS, "config check"])
def test_the_page_of_the_commands_has_exactly_their_options(command, capsys):
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])

    has = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert has == set(re.findall(r"^\| `(--[\w-]+)", section, re.MULTILINE))


@pytest.mark.parametrize(
    "kind", [policy.Policy, targets.Target, targets.Retry, targets.Breaker, targets.Deadline]
)
def test_the_policy_page_has_every_field_and_its_default(kind):
    text = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {kind.__name__}$(.*?)^#", text, re.MULTILINE | re.DOTALL)[1]
    recorded = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))

    assert list(recorded) == [each.name for each in dataclasses.fields(kind)]
    for each in dataclasses.fields(kind):
        if each.default is not dataclasses.MISSING and isinstance(each.default, (int, float, str)):
            default = str(each.default).lower() if isinstance(each.default, bool) else f"{each.default}"
            assert recorded[each.name].strip("`") == re.sub(r"\.0$", "", default)

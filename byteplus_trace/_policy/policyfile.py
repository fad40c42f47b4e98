"""
A policy as it is written in TOML, JSON or a plain mapping.

The same keys as the fields of `policy.py` and `targets.py`; a table in `targets` that has `targets`
of its own is a group. `${NAME}` in any text stands for an environment variable, so that
keys stay out of files.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from .._errors import Filled, SettingError, shown
from .._regions import did_you_mean
from . import checks
from .gatewayconfig import from_gateway_config, is_gateway_config
from .targets import Breaker, Condition, Deadline, Group, Retry, Target

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# With a folder or a suffix, and nothing of TOML's or JSON's own.
_MAY_BE_PATH = re.compile(r"""(?=.*[./\\])[^\0\n={}\[\]"']+""")
_T = TypeVar("_T")


def load(
    kind: type[_T], source: Mapping[str, Any] | str | os.PathLike[str], environ: Mapping[str, str]
) -> _T:
    """
    The policy that a mapping or a file describes, made as a `kind`: see `Policy.load`.

    The class is an argument, because it stands above this module.
    """
    content: object = _read(source) if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(content, Mapping):
        hint = " Write Policy(targets=[...])." if isinstance(source, (list, tuple, Target, Group)) else ""
        raise SettingError(f"A policy is a table with targets, not {type(content).__name__}.{hint}")
    missing: dict[str, str] = {}
    filled = _filled(content, environ, "policy", missing)
    if missing:
        raise SettingError("\n".join(missing.values()))
    return from_gateway_config(kind, filled) if is_gateway_config(filled) else _policy(kind, filled)


def _read(source: str | os.PathLike[str]) -> object:
    text = os.fspath(source)
    if text.lstrip().startswith("{"):
        return _parsed(json.loads, text, "The policy", "JSON")
    return read_file("The policy file", text)


def read_file(what: str, named: str, example: str = "policy.toml") -> object:
    """
    What a TOML or JSON file holds. `example` is a path as one would be written.

    Raises:
        SettingError: it cannot be read, as `what`. The error repeats no text that is not a path, for it may hold keys.
    """
    path = Path(named)
    try:
        text = path.read_text(encoding="utf-8-sig")  # as some editors write it
    except UnicodeDecodeError:
        refusal = f"{what} {named!r} is not UTF-8 text."
    except (OSError, ValueError) as error:
        if _MAY_BE_PATH.fullmatch(named):
            refusal = f"{what} {named!r} cannot be read: {getattr(error, 'strerror', error)}."
        else:
            refusal = (
                f"{what} is a text of {len(named)} characters that is neither JSON nor the path of a file. "
                f"Write what it holds into a file, and give its path, such as '{example}'."
            )
    else:
        if path.suffix in {".yaml", ".yml"} and not text.lstrip().startswith("{"):
            raise SettingError(
                f"{what} {named!r} is YAML, which is not read. Write TOML or JSON, such as {path.stem}.json made by: "
                f"python -c \"import json, yaml; print(json.dumps(yaml.safe_load(open('{path.name}'))))\" > {path.stem}.json"
            )
        if path.suffix == ".json" or text.lstrip().startswith("{"):
            return _parsed(json.loads, text, f"{what} {named!r}", "JSON")
        return _parsed(tomllib.loads, text, f"{what} {named!r}", "TOML")
    raise SettingError(refusal)  # on its own, for the other error repeats the text


def _parsed(parse: Callable[[str], object], text: str, what: str, language: str) -> object:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        message = f"{what} is not valid {language}: {error}"
    raise SettingError(message)  # on its own, for the parser's error has the whole text in it


def filled_text(text: str, environ: Mapping[str, str], where: str) -> str:
    """
    A text with `${NAME}` replaced.

    Raises:
        SettingError: a variable is not there.
    """
    missing: dict[str, str] = {}
    filled = _filled(text, environ, where, missing)
    if missing:
        raise SettingError("\n".join(missing.values()))
    return str(filled)


def _filled(value: Any, environ: Mapping[str, str], where: str, missing: dict[str, str]) -> Any:
    """
    The value with `${NAME}` replaced throughout.

    `missing` collects a sentence for each variable that is not there, so that a person reads all of them at once.
    """
    match value:
        case str():
            filled = _VARIABLE.sub(lambda found: _variable(found[1], environ, where, missing), value)
            return Filled(filled, value) if filled != value else value
        case Mapping():
            return {key: _filled(each, environ, f"{where}.{key}", missing) for key, each in value.items()}
        case list() | tuple():
            return [_filled(each, environ, f"{where}[{at}]", missing) for at, each in enumerate(value)]
        case _:
            return value


def _variable(name: str, environ: Mapping[str, str], where: str, missing: dict[str, str]) -> str:
    found = environ.get(name, "")
    if not found:
        state = "is empty" if name in environ else "is not set"
        missing.setdefault(
            name, f"{where}: the environment variable {name} {state}. Set it, or take ${{{name}}} out."
        )
    return found


def _policy(kind: type[_T], table: Mapping[str, Any]) -> _T:
    arguments = _group_arguments(table, "policy")
    for name, part in (("retry", Retry), ("breaker", Breaker), ("deadline", Deadline)):
        if name in arguments:
            arguments[name] = _built(part, arguments[name], name)
    return _built(kind, arguments, "policy")


def _member(entry: object, where: str) -> Target | Group:
    if isinstance(entry, (Target, Group)):
        return entry
    if isinstance(entry, str):
        raise SettingError(f"{where} must be a table, not str. Write {{ name = ..., region = ... }}.")
    table = _table(entry, where)
    if "targets" in table:
        return _built(Group, _group_arguments(table, where), where)
    for name, kind in (("retry", Retry), ("breaker", Breaker)):
        if name in table:
            table[name] = _built(kind, table[name], f"{where}.{name}")
    if "region" not in table and "name" in table:
        raise SettingError(
            f'{where}: target {shown(table["name"])} needs a region, such as region = "eu-west-1".'
        )
    return _built(Target, table, where)


def _group_arguments(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    arguments = dict(table)
    if "targets" in arguments:
        arguments["targets"] = [
            _member(each, f"{where}.targets[{at}]")
            for at, each in enumerate(_list(arguments, "targets", where))
        ]
    if "conditions" in arguments:
        arguments["conditions"] = [
            _built(Condition, each, f"{where}.conditions[{at}]")
            for at, each in enumerate(_list(arguments, "conditions", where))
        ]
    return arguments


def _built(kind: type[_T], value: Any, where: str) -> _T:
    """The dataclass from a table of its fields; what is no field is refused."""
    if isinstance(value, kind):
        return value
    table = _table(value, where)
    needed = {each.name: _is_needed(each) for each in fields(kind)}  # type: ignore[arg-type]  # only our dataclasses come here
    for key in table:
        if key not in needed:
            raise SettingError(
                f"{where}: {shown(key)} is not known (known: {', '.join(needed)}).{did_you_mean(key, needed)}"
            )
    missing = [name for name, is_needed in needed.items() if is_needed and name not in table]
    if missing:
        raise SettingError(f"{where}: {missing[0]!r} is missing.")
    return kind(**table)


def _is_needed(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(
            f"{where} must be a table, not {type(value).__name__}.{checks.instead(where, value, ' = ')}"
        )
    return {str(key): each for key, each in value.items()}


def _list(table: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = table[name]
    if not isinstance(value, (list, tuple)):
        hint = f" In TOML, write [[{name}]] above each." if isinstance(value, Mapping) else ""
        raise SettingError(f"{where}.{name} must be a list of tables, not {type(value).__name__}.{hint}")
    return list(value)

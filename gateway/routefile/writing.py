"""Writes a body as the TOML file that an operator edits."""

import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, AoT, Array, InlineTable, Table

from gateway.routefile.reading import agent_body, route_body

_SECTIONS = (("versions",), ("ab_test",), ("ab_test", "plan"))


def write_toml(body: Mapping[str, Any], previous: str | None) -> str:
    """The body as TOML, which reads as the same body again.

    With the ``previous`` text of the file, its comments, order and spelling are kept, and only what means something
    else now is written.
    """
    normal = _normal(dict(body))
    if previous is not None:
        amended = _amended(previous, normal)
        if amended is not None:
            return amended
    return tomlkit.dumps(_document(normal))


def _normal(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree in normal form, with its keys in order; as it is when something is wrong with it."""
    body, faults = route_body(tree) if "direction" in tree else agent_body(tree)
    return tree if faults else body


# -- a file that is there already --------------------------------------------------------------------------


def _amended(previous: str, body: dict[str, Any]) -> str | None:
    """The previous text made to say what the body says; None when it cannot be."""
    try:
        before = tomllib.loads(previous)
        document = tomlkit.parse(previous)
        _amend(document, _normal(before), body, ())
        text = tomlkit.dumps(document)
        # A file may be written in ways that tomlkit does not amend rightly, so its word is not taken for it.
        return text if _normal(tomllib.loads(text)) == body else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, TOMLKitError):
        return None


def _amend(table: Any, before: Mapping[str, Any], body: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key in before:
        if key not in body and key in table:
            del table[key]
    for key, value in body.items():
        old = before.get(key)
        if old == value:
            continue
        there = table.get(key)
        if (
            isinstance(there, AbstractTable | OutOfOrderTableProxy)
            and isinstance(old, dict)
            and isinstance(value, dict)
        ):
            _amend(there, old, value, (*path, key))
        elif isinstance(there, Array) and _are_texts(old) and _are_texts(value):
            _amend_list(there, value)
        else:
            _put(table, key, _item(value, (*path, key), inline=isinstance(table, InlineTable)))


def _put(table: Any, key: str, item: Any) -> None:
    """Replaces a value, or adds one behind the last; tomlkit would add it below a comment on the next table."""
    container = table.value if isinstance(table, Table) else table
    plain = [name for name, there in getattr(container, "body", ()) if name and not isinstance(there, Table | AoT)]
    if key in table or not plain or isinstance(item, Table):
        table[key] = item
    else:
        container._insert_after(plain[-1], key, item)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _amend_list(array: Array, wanted: list[str]) -> None:
    """Takes out, and adds at the end, so that comments beside what stays are kept; another order is written anew."""
    for place in reversed(range(len(array))):
        if array[place] not in wanted:
            del array[place]
    kept = [str(each) for each in array]
    if kept != wanted[: len(kept)]:
        array.clear()
        kept = []
    array.extend(wanted[len(kept) :])


# -- a new file --------------------------------------------------------------------------------------------


def _document(body: Mapping[str, Any]) -> tomlkit.TOMLDocument:
    document = tomlkit.document()
    for key, value in body.items():
        document[key] = _item(value, (key,), inline=False)
    return document


def _item(value: Any, path: tuple[str, ...], *, inline: bool) -> Any:
    """What an operator edits key by key stands as a table of its own, all else on one line."""
    if isinstance(value, Mapping):
        table: Any = tomlkit.inline_table()
        if not inline and _stands_alone(value, path):
            # Above [versions.3] a line [versions] would say nothing.
            table = tomlkit.table(is_super_table=path == ("versions",) and _is_agent_versions(value))
        for key, inner in value.items():
            table[key] = _item(inner, (*path, key), inline=isinstance(table, InlineTable))
        return table
    if isinstance(value, list):
        array = tomlkit.array()
        for inner in value:
            array.append(_item(inner, path, inline=True))
        return array
    return value


def _stands_alone(value: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    return path in _SECTIONS or (path[:-1] == ("versions",) and "target" in value)


def _is_agent_versions(versions: Mapping[str, Any]) -> bool:
    return all(isinstance(version, Mapping) and "target" in version for version in versions.values())

"""Reads the settings from one TOML file and the environment, and tells every problem at once."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.errors import Invalid, Problem
from gateway.settings.tables import KEYS, NESTED, Receiver, Settings, environment_name
from gateway.settings.values import Written, is_loopback

DEFAULT_FILE = Path("config/gateway.toml")

# Variables that belong to the client of the API, or that name the file itself.
_NOT_SETTINGS = frozenset({"GATEWAY_URL", "GATEWAY_TOKEN", "GATEWAY_CONFIG"})
_ECOSYSTEM = {"TWILIO_ACCOUNT_SID": "twilio.account_sid", "TWILIO_AUTH_TOKEN": "twilio.auth_token"}
# Where pydantic would speak of Python's types, an operator is told what to write.
_WORDS = {
    "missing": "is missing; set it",
    "tuple_type": 'should be a list such as ["a", "b"] (in the environment: as JSON)',
    "dict_type": 'should be a table such as { name = "value" } (in the environment: as JSON)',
    "model_type": "should be a table with its keys below it",
    "string_pattern_mismatch": 'should be a sid such as "AC…": up to 128 letters, digits and : _ . -',
}


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] | None = None, *, insecure_dev: bool = False
) -> Settings:
    """The settings of ``path``, else of GATEWAY_CONFIG, else of config/gateway.toml where that exists.

    The environment overrides the file. Raises Invalid with every problem at once. ``insecure_dev`` lets a gateway
    that can only be reached from this machine start without anything to check signatures with.
    """
    environ = os.environ if environ is None else environ
    named = path or (Path(environ["GATEWAY_CONFIG"]) if environ.get("GATEWAY_CONFIG") else None)
    file = named or DEFAULT_FILE
    tables, problems = _read_file(file) if named or file.exists() else ({}, [])
    unreadable = bool(problems)
    problems += _unknown_variables(environ)
    overrides = _overrides(environ)
    sources = _merge(tables, overrides, str(file))

    found: list[tuple[str, str]] = []  # keys at fault, each with its cure
    for key in sources:
        section, _, name = key.partition(".")
        mark = str if key in overrides else Written
        tables[section][name] = _resolved(tables[section][name], key, environ, mark, found)
    # A key whose variable is missing or empty is told once, not again for what its value then is not.
    told = {key for key, _ in found}
    sections = {}
    for name in Settings.model_fields:
        sections[name], faults = _checked(name, tables.pop(name, {}))
        found += [fault for fault in faults if fault[0] not in told]
    found += [(name, _not_a_setting(name)) for name in tables]
    # What an unreadable file may have said is not held against anybody.
    faults = [] if unreadable else list(_disagreements(sections, insecure_dev))
    found += [fault for fault in faults if fault[0] not in told]

    for key, text in found:
        place = sources.get(".".join(key.split(".")[:2]), str(file))
        problems.append(Problem(place=place, path=key, text=text))
    if problems:
        raise Invalid("the settings cannot be used", problems)
    settings = Settings(**sections)
    settings._sources = sources
    return settings


def _read_file(file: Path) -> tuple[dict[str, Any], list[Problem]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), []
    except UnicodeDecodeError:
        reason = "is not UTF-8 text; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); name another with GATEWAY_CONFIG"
    return {}, [Problem(place=str(file), path="", text=reason)]


def _unknown_variables(environ: Mapping[str, str]) -> list[Problem]:
    known = {environment_name(key) for key in KEYS}
    return [
        Problem(place=name, path="", text=f"is not a setting{_nearest(name, known)}")
        for name in sorted(environ)
        if name.startswith("GATEWAY_") and name not in known | _NOT_SETTINGS
    ]


def _overrides(environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    """What the environment says of each key, and the variable that says it; the gateway's own names win."""
    found = {key: (name, environ[name]) for name, key in _ECOSYSTEM.items() if environ.get(name)}
    own = {key: environment_name(key) for key in KEYS}
    found |= {key: (name, environ[name]) for key, name in own.items() if name in environ}
    return {key: (name, _from_json(text)) for key, (name, text) in found.items()}


def _from_json(text: str) -> object:
    """A list or table written as JSON; any other text, broken JSON too, as it is for the key's own check."""
    if text.lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _merge(tables: dict[str, Any], overrides: Mapping[str, tuple[str, object]], file: str) -> dict[str, str]:
    """Put the overrides into ``tables``, and tell where the value of each key then comes from."""
    sources = {f"{name}.{key}": file for name, table in tables.items() if isinstance(table, dict) for key in table}
    for path, (variable, value) in overrides.items():
        section, _, key = path.partition(".")
        if isinstance(table := tables.setdefault(section, {}), dict):
            table[key] = value
            sources[path] = variable
    return sources


def _resolved(
    value: object, path: str, environ: Mapping[str, str], mark: Callable[[str], str], found: list[tuple[str, str]]
) -> object:
    """``value`` with every ``env:NAME`` in it replaced by that variable, and all other text marked."""
    # A target is checked, and its names are looked up, where all targets are.
    if path == "voice.fallback":
        return value
    if isinstance(value, dict):
        return {key: _resolved(item, f"{path}.{key}", environ, mark, found) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, f"{path}.{i}", environ, mark, found) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    name = value.removeprefix("env:") if value.startswith("env:") else None
    if name is not None and name not in environ:
        found.append((path, f"names the environment variable {name}, which is not set; set it or remove the key"))
        return value
    text = mark(value) if name is None else environ[name]
    if not text.strip():
        found.append((path, "is empty; give it a value or remove it"))
    return text


def _checked(section: str, table: object) -> tuple[Any, list[tuple[str, str]]]:
    """The section's checked value, or None and what is wrong with each key."""
    try:
        return type(Settings.model_fields[section].get_default()).model_validate(table), []
    except ValidationError as error:
        faults = [
            _fault(section, detail)
            for detail in error.errors(include_url=False, include_input=False)
            # The default of the public URL waits for the port, which has a fault of its own then.
            if detail["type"] != "default_factory_not_called"
        ]
    return None, faults


def _fault(section: str, detail: ErrorDetails) -> tuple[str, str]:
    path = ".".join(map(str, (section, *detail["loc"])))
    return path, _cure(detail, path)


def _cure(error: ErrorDetails, path: str) -> str:
    if error["type"] == "extra_forbidden":
        return _not_a_setting(path)
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return _WORDS.get(error["type"]) or re.sub("^(Input|String) ", "", error["msg"])


def _not_a_setting(path: str) -> str:
    known = {*KEYS, *Settings.model_fields}
    for table, shape in NESTED.items():
        known |= {f"{table}.{field.alias or key}" for key, field in shape.model_fields.items()}
    above = path.rpartition(".")[0]
    if above.startswith("notifications.receivers."):
        known |= {f"{above}.{key}" for key in Receiver.model_fields}
    return f"is not a setting{_nearest(re.sub(r'[.][0-9]+', '', path), known)}"


def _nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; remove it"


def _disagreements(sections: Mapping[str, Any], insecure_dev: bool) -> Iterator[tuple[str, str]]:
    """What is wrong between keys that are each right; a section that did not pass its own check is None."""
    twilio, server, outbound = sections["twilio"], sections["server"], sections["outbound"]
    if twilio and (twilio.api_key_sid is None) != (twilio.api_key_secret is None):
        missing = "twilio.api_key_sid" if twilio.api_key_sid is None else "twilio.api_key_secret"
        yield missing, "is missing; an API key is twilio.api_key_sid and twilio.api_key_secret together"
    if twilio and not insecure_dev and not any(twilio.signing_keys()):
        yield (
            "twilio.auth_token",
            "is not set, so a forged call cannot be told from Twilio's: set TWILIO_AUTH_TOKEN"
            " (or, on this machine only, start with --insecure-dev)",
        )
    if server and insecure_dev:
        hosts = {"server.host": server.host, "server.public_url": urlsplit(server.public_url).hostname}
        for key, host in hosts.items():
            if not is_loopback(host or ""):
                yield key, "is not loopback, as --insecure-dev demands: use 127.0.0.1, or set TWILIO_AUTH_TOKEN"
    if outbound and outbound.reserve_inbound >= outbound.max_concurrent:
        yield "outbound.reserve_inbound", "leaves no call to outbound.max_concurrent; make it smaller"
    analysis = sections["analysis"]
    if analysis and analysis.judge == "llm":
        if analysis.llm is None:
            yield "analysis.llm", 'is missing; judge = "llm" needs a table [analysis.llm] with base_url and model'
        if not analysis.criteria:
            yield "analysis.criteria", 'is missing; judge = "llm" needs a question: add [[analysis.criteria]]'
    if analysis and analysis.judge == "local" and analysis.criteria:
        yield "analysis.criteria", 'are questions in words, which only judge = "llm" can answer'

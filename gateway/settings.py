"""What the operator sets: one TOML file, overridden by the environment, checked once with every problem at once.

``load_settings`` is the only way in. Secrets leave this module as ``SecretStr``, or through ``signing_keys`` and
``secrets``; no message, dump or repr of it holds one.
"""

import base64
import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from phonenumbers import SUPPORTED_REGIONS
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from gateway.errors import Invalid, Problem
from gateway.log import Format
from gateway.model import NoticeKind

DEFAULT_FILE = Path("config/gateway.toml")

_DAY = 24 * 60 * 60
_SECONDS = {"s": 1, "m": 60, "h": 60 * 60, "d": _DAY}
_PASSWORD = re.compile(r"://[^@]*:[^@]*@|[?&]password=")
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


class _Written(str):
    """Text that stands in the file as it is, which no secret may."""

    __slots__ = ()


def parse_duration(text: str) -> int:
    """Seconds of ``30s``, ``30m``, ``1h`` or ``2d``: one whole number above zero and one unit; else ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}[smhd]", text):
        raise ValueError('should be one whole number and its unit, such as "30s", "30m", "1h" or "2d"')
    return int(text[:-1]) * _SECONDS[text[-1]]


def parse_window(text: str) -> tuple[int, int]:
    """First minute of the day and the first one after it, of ``09:00-20:00`` or ``always``; else ValueError."""
    start, end = (0, 24 * 60) if text == "always" else read_times(text)
    if not start < end <= 24 * 60:
        raise ValueError(_TIMES)
    return start, end


def read_times(text: str) -> tuple[int, int]:
    """The two minutes of a day that ``09:00-20:00`` writes, in whatever order; else ValueError."""
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", text)
    if match is None:
        raise ValueError(_TIMES)
    h1, m1, h2, m2 = map(int, match.groups())
    return h1 * 60 + m1, h2 * 60 + m2


_TIMES = 'should be two times of one day, the earlier one first, such as "09:00-20:00", or "always"'


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('should be text with a unit, such as "1h"')
    return parse_duration(value)


def _window(text: str) -> str:
    parse_window(text)
    return text


def _country(code: str) -> str:
    if code not in SUPPORTED_REGIONS:
        raise ValueError('should be a country of ISO 3166 in two capital letters, such as "US" or "GB"')
    return code


def _secret(value: object) -> object:
    if isinstance(value, _Written):
        raise ValueError('is a secret, which no file may hold: write "env:NAME" and set the variable NAME')
    # Secrets mounted from files tend to end in a newline, which would break every signature.
    return value.strip() if isinstance(value, str) else value


def _database_url(value: object) -> object:
    if isinstance(value, _Written) and _PASSWORD.search(value):
        raise ValueError('holds a password, which no file may: write "env:NAME" and set the variable NAME')
    if not isinstance(value, str) or not re.match(r"sqlite:///.|postgresql://.", value):
        raise ValueError("should be sqlite:///path/to/file.db or postgresql://user@host/name")
    return value


def _field_name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise ValueError("should be a name such as resolved: up to 64 lower-case letters, digits and _")
    return text


def _base_url(text: str) -> str:
    """``text`` if every path can be put behind it."""
    parts = _web_address(text)
    _refuse(
        {
            **_exposed(parts),
            'leave out everything from "?" or "#" on': "?" in text or "#" in text,
            'drop the "/" at the end': parts.path.endswith("/"),
        }
    )
    return text


def _receiver_url(url: SecretStr) -> SecretStr:
    """``url`` if it can be posted to; whoever knows it may be allowed to post."""
    text = url.get_secret_value()
    _refuse({**_exposed(_web_address(text)), 'leave out everything from "#" on': "#" in text})
    return url


def _web_address(text: str) -> SplitResult:
    """The parts of a URL of the web; the message never quotes it, as it might hold a password."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not re.match("https?://", text) or re.search(r"[^!-~]|\\", text) or parts.netloc.endswith(":"):
        raise ValueError("should be a URL such as https://calls.example.com")
    return parts


def _exposed(parts: SplitResult) -> dict[str, bool]:
    return {
        "leave out user and password": "@" in parts.netloc,
        "use https, as http is taken only on loopback": parts.scheme == "http"
        and not is_loopback(parts.hostname or ""),
    }


def _refuse(cures: Mapping[str, bool]) -> None:
    if any(cures.values()):
        raise ValueError("; ".join(cure for cure, needed in cures.items() if needed))


def _signing_key(secret: SecretStr) -> SecretStr:
    try:
        size = len(read_signing_key(secret.get_secret_value()))
    except ValueError:
        size = 0
    if not 24 <= size <= 64:
        raise ValueError(
            'should be "whsec_" and 24 to 64 bytes in base64: make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return secret


def read_signing_key(secret: str) -> bytes:
    """The key in a secret of Standard Webhooks, ``whsec_`` and base64; else ValueError."""
    prefix, written = secret[:6], secret[6:]
    if prefix != "whsec_":
        raise ValueError("does not begin with whsec_")
    return base64.b64decode(written, validate=True)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", text):
        raise ValueError('should be a name of small letters, digits, "_" and "-"')
    return text


Duration = Annotated[int, BeforeValidator(_duration)]
Window = Annotated[str, AfterValidator(_window)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
FieldName = Annotated[str, AfterValidator(_field_name)]
ReceiverUrl = Annotated[SecretStr, AfterValidator(_receiver_url)]
SigningKey = Annotated[Secret, AfterValidator(_signing_key)]
Name = Annotated[str, AfterValidator(_name)]
Sid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.-]{1,128}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True)]
Country = Annotated[str, AfterValidator(_country)]
Days = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Server(_Table):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    public_url: BaseUrl = Field(default_factory=lambda data: f"http://127.0.0.1:{data['port']}")


class Database(_Table):
    url: Annotated[SecretStr, BeforeValidator(_database_url)] = SecretStr("sqlite:///data/gateway.db")


class Paths(_Table):
    routes: Path = Path("routes")
    agents: Path = Path("config/agents")
    data: Path = Path("data")


class Account(_Table):
    sid: Sid
    auth_tokens: tuple[Secret, ...] = Field(min_length=1)


class Twilio(_Table):
    account_sid: Sid | None = None
    auth_token: Secret | None = None
    secondary_auth_token: Secret | None = None
    api_key_sid: Sid | None = None
    api_key_secret: Secret | None = None
    api_base_url: BaseUrl | None = None
    accounts: tuple[Account, ...] = ()
    shared_keys: dict[str, Secret] = Field(default_factory=dict)

    def signing_keys(self) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], dict[str, str]]:
        """What webhooks may be signed with: tokens by account sid, tokens of any account, secrets by shared key id.

        ``auth_token`` and its secondary belong to ``account_sid``, and to any account where that is not set.
        All three are empty only in settings loaded with ``insecure_dev``.
        """
        own = tuple(t.get_secret_value() for t in (self.auth_token, self.secondary_auth_token) if t)
        by_account = {self.account_sid: own} if self.account_sid and own else {}
        for account in self.accounts:
            tokens = tuple(token.get_secret_value() for token in account.auth_tokens)
            by_account[account.sid] = by_account.get(account.sid, ()) + tokens
        shared = {key: secret.get_secret_value() for key, secret in self.shared_keys.items()}
        return by_account, () if self.account_sid else own, shared


class Voice(_Table):
    unrouted: Sentence = "Thank you for calling. This number cannot take your call. Goodbye."
    fallback: dict[str, Any] | None = None
    apology: Sentence = (
        "We are sorry: we cannot connect your call right now. Please call again in a few minutes. Goodbye."
    )


class Auth(_Table):
    admin_token: Secret | None = None
    experiments_role: Literal["editor", "admin"] = "editor"


class Outbound(_Table):
    allowed_countries: tuple[Country, ...] = ()
    calls_per_second: float = Field(1.0, ge=0.001, allow_inf_nan=False)
    window: Window = "09:00-20:00"
    max_concurrent: int = Field(10, ge=1)
    max_concurrent_per_route: int | None = Field(None, ge=1)
    reserve_inbound: int = Field(2, ge=0)
    daily_cap: int = Field(1000, ge=0)


class Experiments(_Table):
    outcome_window: Duration = _SECONDS["h"]


class Criterion(_Table):
    """A question in words that a finished call's transcript is asked."""

    name: FieldName
    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    kind: Literal["boolean", "number", "choice"] = "boolean"
    choices: tuple[Annotated[str, StringConstraints(min_length=1, max_length=100)], ...] = ()
    as_: Literal["field", "success", "sentiment"] = Field("field", alias="as")

    def __str__(self) -> str:
        return self.name

    @property
    def told_as(self) -> str:
        """What it is called where outcomes are compared and labelled: ``success``, ``sentiment`` or its own name."""
        return self.name if self.as_ == "field" else self.as_

    @model_validator(mode="after")
    def _agrees(self) -> "Criterion":
        if (self.kind == "choice") != (len(set(self.choices)) > 1) or len(set(self.choices)) < len(self.choices):
            raise ValueError('needs two or more different choices with kind = "choice", and none with any other kind')
        wanted = {"success": "boolean", "sentiment": "number"}.get(self.as_)
        if wanted is not None and self.kind != wanted:
            raise ValueError(f'is {self.as_}, so it needs kind = "{wanted}"')
        if self.as_ == "field" and self.name in ("success", "sentiment"):
            raise ValueError(f'has the name of a measure: write as = "{self.name}" to judge it, or take another name')
        return self


class Llm(_Table):
    """An endpoint that speaks OpenAI's chat completions."""

    base_url: BaseUrl
    model: Sentence
    api_key: Secret | None = None
    options: dict[str, Any] = Field(
        default_factory=lambda: {"temperature": 0, "response_format": {"type": "json_object"}}
    )
    requests_per_minute: float = Field(60, gt=0, le=100_000, allow_inf_nan=False)
    timeout: Annotated[Duration, Field(le=600)] = 30
    price_in: float = Field(0, ge=0, allow_inf_nan=False)
    price_out: float = Field(0, ge=0, allow_inf_nan=False)

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url}"


class Analysis(_Table):
    judge: Literal["none", "local", "llm"] = "none"
    llm: Llm | None = None
    criteria: tuple[Criterion, ...] = Field((), max_length=20)

    @field_validator("criteria")
    @classmethod
    def _different(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        names = [name for one in criteria for name in {one.name, one.told_as}]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"ask for {', '.join(twice)} more than once; keep one of them")
        return criteria


class Retention(_Table):
    events: Days | None = None
    transcripts: Days | None = None


class Receiver(_Table):
    url: ReceiverUrl
    secret: SigningKey
    events: tuple[NoticeKind, ...] = get_args(NoticeKind)


class Notifications(_Table):
    receivers: dict[Name, Receiver] = Field(default_factory=dict)


class Log(_Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Format = "console"


class Settings(_Table):
    """Everything that the operator sets; docs/reference/settings.md says what each key means."""

    server: Server = Server()
    database: Database = Database()
    paths: Paths = Paths()
    twilio: Twilio = Twilio()
    voice: Voice = Voice()
    auth: Auth = Auth()
    outbound: Outbound = Outbound()
    experiments: Experiments = Experiments()
    analysis: Analysis = Analysis()
    retention: Retention = Retention()
    notifications: Notifications = Notifications()
    log: Log = Log()

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def secrets(self) -> tuple[str, ...]:
        """Every secret in the clear, for ``log.configure``, which keeps them out of the log."""
        url = self.database.url.get_secret_value()
        password = re.search(r"://[^@]*?:([^@]+)@", url)
        sections = (self.twilio, self.auth, self.analysis, self.notifications)
        return (*_secrets_in(sections), *([password[1]] if password else []))

    def describe(self) -> list[tuple[str, str, str]]:
        """Key, value and source of every setting as read; of a secret only whether it is set."""
        return [
            (
                key,
                _shown(getattr(getattr(self, key.split(".")[0]), key.split(".")[1])),
                self._sources.get(key, "default"),
            )
            for key in KEYS
        ]


KEYS: tuple[str, ...] = tuple(
    f"{section}.{key}"
    for section, table in Settings.model_fields.items()
    for key in table.get_default().__class__.model_fields
)
"""Every setting by its dotted name, as in the file: ``server.port``."""


NESTED: Mapping[str, type[BaseModel]] = {
    "twilio.accounts": Account,
    "analysis.llm": Llm,
    "analysis.criteria": Criterion,
}
"""What stands inside the settings that are tables, or lists of tables."""


def environment_name(key: str) -> str:
    """The variable that overrides ``key``: ``server.port`` is ``GATEWAY_SERVER__PORT``."""
    return "GATEWAY_" + key.upper().replace(".", "__")


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
        mark = str if key in overrides else _Written
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


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    if isinstance(value, BaseModel | dict):
        value = tuple(dict(value).values())
    if isinstance(value, tuple):
        for part in value:
            yield from _secrets_in(part)


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if any(_secrets_in(value)):
        return "set"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value == {} else str(value)

"""The shape of the settings: a table for each section, checked key by key, and every key by its dotted name."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from gateway.log import Format
from gateway.model import NoticeKind
from gateway.settings.values import (
    BaseUrl,
    Country,
    DatabaseUrl,
    Days,
    Duration,
    FieldName,
    Name,
    ReceiverUrl,
    Secret,
    Sentence,
    Sid,
    SigningKey,
    Window,
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Server(_Table):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    public_url: BaseUrl = Field(default_factory=lambda data: f"http://127.0.0.1:{data['port']}")


class Database(_Table):
    url: DatabaseUrl = SecretStr("sqlite:///data/gateway.db")


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
    outcome_window: Duration = 60 * 60


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

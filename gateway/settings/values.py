"""What one value of the settings may be: the types of the tables, each with the sentence that it is refused with."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

_MINUTES = 24 * 60
_SECONDS = {"s": 1, "m": 60, "h": 60 * 60, "d": _MINUTES * 60}
_PASSWORD = re.compile(r"://[^@]*:[^@]*@|[?&]password=")


class Written(str):
    """Text that stands in the file as it is, which no secret may."""

    __slots__ = ()


def parse_duration(text: str) -> int:
    """Seconds of ``30s``, ``30m``, ``1h`` or ``2d``: one whole number above zero and one unit; else ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}[smhd]", text):
        raise ValueError('should be one whole number and its unit, such as "30s", "30m", "1h" or "2d"')
    return int(text[:-1]) * _SECONDS[text[-1]]


def read_hours(text: str) -> tuple[int, int]:
    """First minute of the day and the first one after it, of ``09:00-20:00`` or ``always``; else ValueError."""
    if text == "always":
        return 0, _MINUTES
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", text)
    h1, m1, h2, m2 = map(int, match.groups()) if match else (0, 0, 0, 0)
    start, end = h1 * 60 + m1, h2 * 60 + m2
    if not start < end <= _MINUTES:
        raise ValueError(
            "should be two times of one day, the earlier one first; it cannot cross midnight: "
            'write such as "09:00-20:00", or "always"'
        )
    return start, end


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
    read_hours(text)
    return text


def _country(code: str) -> str:
    if code not in SUPPORTED_REGIONS:
        raise ValueError('should be a country of ISO 3166 in two capital letters, such as "US" or "GB"')
    return code


def _secret(value: object) -> object:
    if isinstance(value, Written):
        raise ValueError('is a secret, which no file may hold: write "env:NAME" and set the variable NAME')
    # Secrets mounted from files tend to end in a newline, which would break every signature.
    return value.strip() if isinstance(value, str) else value


def _database_url(value: object) -> object:
    if isinstance(value, Written) and _PASSWORD.search(value):
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
DatabaseUrl = Annotated[SecretStr, BeforeValidator(_database_url)]
Days = Annotated[int, Field(ge=1)]

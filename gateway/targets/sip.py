"""A target that is called over SIP; what it is given travels as headers of the INVITE."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, model_validator

from gateway.model import Parameters
from gateway.targets.address import no_reserved_query
from gateway.targets.kind import Complaint, EndsBy, Handed, Kind, Seconds, Text, dial, progress
from gateway.targets.parameters import header_name, headers, merged

URI_LIMIT = 255
HEADERS_LIMIT = 1024
"""A SIP URI and its headers stay under these many characters (twilio.com, TwiML Sip)."""

_URI = re.compile(
    r"sips?:"
    r"(?:[^@:?\s]+(?P<password>:[^@\s]*)?@)?"
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:;[^\s;?@]+)*"
    r"(?:\?(?P<headers>[^\s?]+))?"
)
_CARRIED = re.compile("x-.+|user-to-user|remote-party-id|p-preferred-identity|p-called-party-id", re.IGNORECASE)

# The longest of the gateway's own values that a call usually has, so that a target is measured before any call.
_USUAL: Parameters = (
    ("gateway_call", "C" * 34),
    ("gateway_version", "v" * 40),
    ("gateway_route", "r" * 40),
    ("gateway_direction", "outbound"),
    ("gateway_from", "+123456789012345"),
    ("gateway_to", "+123456789012345"),
)


def _uri(uri: str) -> str:
    match = _URI.fullmatch(uri) if uri.isascii() and uri.isprintable() else None
    if match is None:
        raise ValueError('must be a SIP URI, as in "sip:support@agents.example.com;transport=tls"')
    if match["password"]:
        raise ValueError("must not carry a password: secrets never stand in files")
    if len(address := uri.partition("?")[0]) >= URI_LIMIT:
        raise ValueError(f"has {len(address)} characters; Twilio takes fewer than {URI_LIMIT}")
    for header in filter(None, (match["headers"] or "").split("&")):
        name = header.partition("=")[0]
        if not _CARRIED.fullmatch(name):
            raise ValueError(f"Twilio does not carry the SIP header {name}: begin its name with X-")
    no_reserved_query(match["headers"] or "")
    return uri


def _named(password: str) -> str:
    if not re.fullmatch("env:[A-Za-z_][A-Za-z0-9_]*", password):
        raise ValueError('secrets never stand in files: name an environment variable, as in "env:SIP_PASSWORD"')
    return password


class Sip(Kind):
    """``{ kind = "sip", uri = "sip:…" }``, and ``username`` with ``password = "env:NAME"`` where the far end asks.

    ``timeout`` is in seconds of ringing.
    """

    ends_by: ClassVar[EndsBy] = "dial"

    uri: Annotated[str, AfterValidator(_uri)]
    username: Text | None = None
    password: Annotated[str, AfterValidator(_named)] | None = None
    timeout: Seconds | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> "Sip":
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together: write both or neither")
        return self

    def twiml(self, handed: Handed) -> Any:
        """``<Dial><Sip>`` with the headers in its URI."""
        answer, leg = dial(handed, timeout=self.timeout)
        leg.sip(
            self.address(handed.parameters),
            username=self.username,
            password=self.password and handed.secret(self.secrets()["password"]),
            **progress(handed),
        )
        return answer

    def secrets(self) -> Mapping[str, str]:
        """The variable that holds the password."""
        return {"password": self.password.removeprefix("env:")} if self.password else {}

    def address(self, parameters: Parameters) -> str:
        """The URI with a header for everything the agent is given; its own headers are kept."""
        joint = "&" if "?" in self.uri else "?"
        return f"{self.uri}{joint}{headers(parameters)}"

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """Names that make no header or the same one, and headers that are too long together."""
        found = []
        owners: dict[str, str] = {}
        for name, _ in parameters:
            header = header_name(name)
            if not header:
                found.append((f"parameters.{name}", f"parameter {name} has no letter to make a SIP header of"))
            elif owners.setdefault(header.lower(), name) != name:
                other = owners[header.lower()]
                text = f"parameters {other} and {name} both become the SIP header {header}"
                found.append((f"parameters.{name}", text))
        size = len(self.address(merged(_USUAL, parameters)).partition("?")[2])
        if size >= HEADERS_LIMIT:
            text = f"the SIP headers come to {size} characters; Twilio takes fewer than {HEADERS_LIMIT}"
            found.append(("parameters", text))
        return found

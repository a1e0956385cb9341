"""The few errors that callers of the gateway can tell apart, by what they can do about them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing wrong with what was given: where it stands and what would cure it.

    ``place`` is a file or a request part (``routes/sales.toml``), ``path`` the key inside it
    (``ab_test.split.b``), ``text`` a sentence that names the culprit.
    """

    place: str
    path: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.text) if part)


class GatewayError(Exception):
    """Base of all errors that a face of the gateway shows; ``problems`` lists every culprit at once."""

    code = "error"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)

    def as_json(self) -> dict[str, object]:
        """The one error shape of the HTTP API (DESIGN 5)."""
        return {
            "ok": False,
            "error": {
                "code": self.code,
                "message": self.message,
                "problems": [asdict(problem) for problem in self.problems],
            },
        }


class Malformed(GatewayError):
    """What was sent cannot be read at all: broken JSON, a form that does not decode."""

    code = "malformed"


class Invalid(GatewayError):
    """What was sent can be read, but breaks a rule; changing it is the cure."""

    code = "invalid"


class Unauthenticated(GatewayError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Refused(GatewayError):
    """Whoever asks may not do this."""

    code = "refused"


class NotFound(GatewayError):
    """The thing named does not exist."""

    code = "not_found"


class Conflict(GatewayError):
    """Somebody else changed it first, or its state forbids this."""

    code = "conflict"


class Moved(Conflict):
    """The base that the author named is no longer the live one."""

    code = "moved"


class BaseRequired(GatewayError):
    """A change was sent without the base that its author saw."""

    code = "base_required"


class Unavailable(GatewayError):
    """The gateway cannot do this now; trying again later is the cure."""

    code = "unavailable"

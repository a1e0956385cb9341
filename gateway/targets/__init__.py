"""How a version takes a call: one module per kind of target, each with the fields it takes and the TwiML it makes.

A new kind is one file and one line in KINDS. Nothing here does I/O or reads a clock.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.model import Parameters, Target
from gateway.targets.application import Application
from gateway.targets.conversation_relay import ConversationRelay
from gateway.targets.kind import EndsBy, Kind, response, xml
from gateway.targets.number import Number
from gateway.targets.parameters import TargetProblems, clean, flatten, merged, reserved
from gateway.targets.reading import read_fields, read_parameters, read_requires
from gateway.targets.sip import Sip
from gateway.targets.splice import Handoff, Template, given
from gateway.targets.stream import Stream
from gateway.targets.twiml import Twiml
from gateway.targets.webhook import Webhook

__all__ = [
    "EMPTY",
    "HANGUP",
    "KINDS",
    "EndsBy",
    "Handoff",
    "Kind",
    "TargetProblems",
    "Template",
    "check_limits",
    "compile_target",
    "ends_by",
    "flatten",
    "handoff_url",
    "merged",
    "read_target",
    "reserved",
    "say",
    "secrets_of",
    "written_target",
]

KINDS: Mapping[str, type[Kind]] = {
    "stream": Stream,
    "conversation_relay": ConversationRelay,
    "sip": Sip,
    "webhook": Webhook,
    "number": Number,
    "application": Application,
    "twiml": Twiml,
}


def read_target(written: Mapping[str, Any]) -> Target:
    """A target as an operator writes it, checked: ``{kind, …fields, parameters?, requires?}``.

    Raises TargetProblems with a (path, sentence) for everything that is wrong with it.
    """
    name = written.get("kind") if isinstance(written, Mapping) else None
    if not isinstance(name, str) or name not in KINDS:
        found = f"{name} is no kind of target" if isinstance(name, str) else "a target needs a kind"
        raise TargetProblems([("kind", f"{found}: write one of {', '.join(KINDS)}")])
    kind = KINDS[name]
    fields, problems = read_fields(written, name, kind)
    parameters, unfit = read_parameters(written, name, kind)
    requires, misnamed = read_requires(written, name, kind)
    problems += [*unfit, *misnamed, *(fields.complaints(parameters) if fields else ())]
    if fields is None or problems:
        raise TargetProblems(problems)
    kept = fields.model_dump(exclude_unset=True, exclude_none=True)
    return Target(kind=name, fields=kept, parameters=parameters, requires=requires)


def written_target(target: Target) -> dict[str, Any]:
    """The target as it is written: ``read_target(written_target(target)) == target``."""
    written: dict[str, Any] = {"kind": target.kind, **target.fields}
    if target.parameters:
        written["parameters"] = dict(target.parameters)
    if target.requires:
        written["requires"] = list(target.requires)
    return written


def check_limits(target: Target, parameters: Parameters) -> list[str]:
    """What Twilio would refuse of a target once an arm's parameters, or a contact's variables, are added."""
    return [text for _, text in _fields(target).complaints(merged(target.parameters, parameters))]


def secrets_of(target: Target) -> Mapping[str, str]:
    """The environment variables that a target names with ``env:NAME``, by the field that names each."""
    return _fields(target).secrets()


def compile_target(
    target: Target,
    parameters: Parameters,
    *,
    public_url: str,
    secret: Callable[[str], str] | None = None,
) -> Template:
    """The target made ready for calls, with an arm's parameters added to its own.

    ``public_url`` is where Twilio reaches this gateway. ``secret`` gives the text behind ``env:NAME`` and is
    called with ``NAME``; a target that names a secret raises LookupError where there is none.
    """
    return Template(
        target=_fields(target),
        parameters=merged(target.parameters, parameters),
        public_url=public_url.rstrip("/"),
        secret=secret or _no_secret,
    ).compiled()


def handoff_url(target: Target, parameters: Parameters, handoff: Handoff) -> str | None:
    """The URL that a handoff to a webhook makes Twilio ask, as its ``ErrorUrl`` would have it; None for other kinds.

    Connection overrides, the fragment, are not part of it, since Twilio keeps them to itself.
    """
    fields = _fields(target)
    if not isinstance(fields, Webhook):
        return None
    handed = given(merged(target.parameters, parameters), handoff)
    return fields.address(handed).partition("#")[0]


def ends_by(kind: str) -> EndsBy:
    """How a handoff of that kind comes back to ``/twilio/next``."""
    return KINDS[kind].ends_by


def say(sentence: str) -> bytes:
    """TwiML that speaks one sentence and hangs up."""
    answer = response()
    answer.say(clean(sentence))
    answer.hangup()
    return xml(answer)


def _hangup() -> bytes:
    answer = response()
    answer.hangup()
    return xml(answer)


HANGUP = _hangup()
EMPTY = xml(response())


def _fields(target: Target) -> Kind:
    return KINDS[target.kind].model_validate(dict(target.fields))


def _no_secret(name: str) -> str:
    raise LookupError(f"the environment variable {name} is not at hand")

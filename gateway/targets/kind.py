"""What every kind of target is made of: the fields an operator writes, the TwiML, and what Twilio would refuse."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped, unused-ignore]

from gateway.model import Parameters
from gateway.phone import is_e164
from gateway.targets.parameters import clean

EndsBy = Literal["dial", "relay", "stream", "none"]
"""How a handoff comes back to ``/twilio/next``: with Dial's fields, a relay session's, a stream's, or not at all."""

Complaint = tuple[str, str]
"""The path of a field in the written target, and a sentence about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """What one handoff adds to the written fields.

    ``parameters`` are what the agent is given, cleaned for XML; ``action`` and ``status`` are this gateway's
    URLs for the end of the handoff and for its progress; ``secret`` gives the text of an environment variable.
    """

    parameters: Parameters
    action: str
    status: str
    secret: Callable[[str], str]


class Kind(BaseModel, ABC):
    """One kind of target; its pydantic fields are the keys an operator writes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ends_by: ClassVar[EndsBy]
    hands_over: ClassVar[bool] = True

    @abstractmethod
    def twiml(self, handed: Handed) -> Any:
        """The ``VoiceResponse`` that hands the call over."""

    def secrets(self) -> Mapping[str, str]:
        """The environment variables that the target names, by the field that names each."""
        return {}

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """What Twilio would refuse, once everything is known that the agent is given."""
        return []


def response() -> Any:
    """An empty ``VoiceResponse``; Any, because twilio's TwiML classes carry no types."""
    return VoiceResponse()


def xml(answer: Any) -> bytes:
    """The TwiML document as it goes to Twilio."""
    return str(answer).encode()


def dial(handed: Handed, **attributes: Any) -> tuple[Any, Any]:
    """A response and its ``<Dial>``, which keeps the caller ringing until the agent answers."""
    answer = response()
    return answer, answer.dial(action=handed.action, method="POST", answer_on_bridge=True, **attributes)


def progress(handed: Handed) -> dict[str, str]:
    """The attributes by which a dialled leg reports its progress."""
    return {
        "status_callback": handed.status,
        "status_callback_method": "POST",
        "status_callback_event": "initiated ringing answered completed",
    }


def carried(text: str) -> str:
    """The text itself; ValueError when XML cannot carry it."""
    if clean(text) != text:
        raise ValueError("holds a character that XML cannot carry")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return carried(text)


def _e164(number: Any) -> Any:
    if isinstance(number, int | float):
        raise ValueError('quote the number, as in "+14155550100"')
    if isinstance(number, str) and not is_e164(number):
        raise ValueError('must be an E.164 number, as in "+14155550100"')
    return number


def _seconds(count: int) -> int:
    if not 1 <= count <= 600:
        raise ValueError("must be 1 to 600 seconds")
    return count


Text = Annotated[str, AfterValidator(_filled)]
E164 = Annotated[str, BeforeValidator(_e164)]
Seconds = Annotated[int, AfterValidator(_seconds)]

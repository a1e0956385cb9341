"""A target that is a TwiML application, which may belong to another Twilio account."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from gateway.model import Parameters
from gateway.targets.kind import Complaint, EndsBy, Handed, Kind, dial, progress
from gateway.targets.parameters import too_long


def _sid(sid: str) -> str:
    if not re.fullmatch("AP[0-9a-f]{32}", sid):
        raise ValueError("must be an application's Sid: AP and 32 hexadecimal digits")
    return sid


class Application(Kind):
    """``{ kind = "application", sid = "AP…" }``. Parameters arrive as form fields of the application's webhook."""

    ends_by: ClassVar[EndsBy] = "dial"

    sid: Annotated[str, AfterValidator(_sid)]

    def twiml(self, handed: Handed) -> Any:
        """``<Dial><Application>``; with parameters the Sid is a child of its own."""
        answer, leg = dial(handed)
        application = leg.application(**progress(handed))
        application.application_sid(self.sid)
        for name, value in handed.parameters:
            application.parameter(name=name, value=value)
        return answer

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """Parameters that are too long."""
        return too_long(parameters)

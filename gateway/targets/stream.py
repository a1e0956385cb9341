"""A target that takes the call's audio over a websocket: a bidirectional media stream."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from gateway.model import Parameters
from gateway.targets.address import web_address
from gateway.targets.kind import Complaint, EndsBy, Handed, Kind, Text, response
from gateway.targets.parameters import too_long


def _url(url: str) -> str:
    web_address(url, "wss")
    if "?" in url:
        raise ValueError("Twilio drops the query string of a stream: write it under parameters")
    if "#" in url:
        raise ValueError("a websocket has no fragment: drop what follows the #")
    return url


class Stream(Kind):
    """``{ kind = "stream", url = "wss://…" }``. The agent finds its parameters in the ``start`` message."""

    ends_by: ClassVar[EndsBy] = "stream"

    url: Annotated[str, AfterValidator(_url)]
    name: Text | None = None

    def twiml(self, handed: Handed) -> Any:
        """``<Connect><Stream>``; its status callback tells a refused socket from a finished conversation."""
        answer = response()
        stream = answer.connect(action=handed.action, method="POST").stream(
            url=self.url, name=self.name, status_callback=handed.status, status_callback_method="POST"
        )
        for name, value in handed.parameters:
            stream.parameter(name=name, value=value)
        return answer

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """Parameters that are too long."""
        return too_long(parameters)

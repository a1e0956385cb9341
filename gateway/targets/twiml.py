"""A target that is TwiML written out: a message, a menu, a call forwarded the way an operator likes."""

from typing import Any, ClassVar
from xml.etree import ElementTree

from gateway.model import Parameters
from gateway.targets.kind import Complaint, EndsBy, Handed, Kind
from gateway.targets.schema import twiml_problems


class Twiml(Kind):
    """``{ kind = "twiml", xml = "<Response>…</Response>" }``; sent as written, so it is handed nothing."""

    ends_by: ClassVar[EndsBy] = "none"
    hands_over: ClassVar[bool] = False

    xml: str

    def twiml(self, handed: Handed) -> Any:
        """The document read and written again, so that it is UTF-8 whatever encoding it declares."""
        root = ElementTree.fromstring(self.xml)  # noqa: S314  (complaints() has refused a document type)
        return f'<?xml version="1.0" encoding="UTF-8"?>{ElementTree.tostring(root, encoding="unicode")}'

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """What in it is not TwiML."""
        return [("xml", text) for text in twiml_problems(self.xml)]

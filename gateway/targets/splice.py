"""Renders a target's TwiML for one call after another: built once by twilio's library, then only filled in."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from string import ascii_letters, digits
from typing import NamedTuple
from urllib.parse import quote

from gateway.model import Parameters
from gateway.targets.kind import Handed, Kind, xml
from gateway.targets.parameters import clean, encoded, merged, reserved

STATUS_OVERRIDES = "#rc=5&rp=all"
ACTION_OVERRIDES = "#rc=2&rp=ct,rt,5xx"
"""Twilio's connection overrides: how often it retries a request, and after which failures. They are never sent."""

# A value of these characters needs no escape in XML, and in a URL only the three that render replaces.
_PLAIN = f"{ascii_letters}{digits}_+.:@-".encode()


class Handoff(NamedTuple):
    """One giving of one call to one target. ``hop`` counts from 0; ``variables`` are those of a contact."""

    call: str
    version: str
    route: str
    direction: str
    from_: str
    to: str
    hop: int = 0
    variables: Parameters = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A target made ready for many calls. ``parameters`` are the version's and the arm's, merged.

    ``pieces`` is the TwiML taken apart, every second piece a blank, and ``pick`` chooses what goes there; both
    are empty until ``compiled``.
    """

    target: Kind
    parameters: Parameters
    public_url: str
    secret: Callable[[str], str]
    pieces: tuple[str, ...] = ()
    pick: Callable[[Sequence[str]], Iterable[str]] = tuple

    def render(self, handoff: Handoff) -> bytes:
        """The TwiML for one call, in UTF-8: filled in where that is safe, built anew otherwise."""
        texts = (handoff.call, handoff.version, handoff.route, handoff.direction, handoff.from_, handoff.to)
        lines = "\n".join(texts)
        if (
            not self.pieces
            or handoff.hop
            or handoff.variables
            or lines.encode("ascii", "replace").translate(None, _PLAIN) != b"\n\n\n\n\n"
        ):
            return self.build(handoff)
        quoted = lines.replace("+", "%2B").replace("@", "%40").replace(":", "%3A").split("\n")
        pieces = [*self.pieces]
        pieces[1::2] = self.pick((*texts, *quoted))
        return "".join(pieces).encode()

    def build(self, handoff: Handoff) -> bytes:
        """The TwiML as twilio's library builds it."""
        call = encoded(handoff.call)
        hop = f"&hop={handoff.hop}" if handoff.hop else ""
        handed = Handed(
            parameters=given(self.parameters, handoff),
            action=f"{self.public_url}/twilio/next/{call}?hop={handoff.hop}{ACTION_OVERRIDES}",
            status=f"{self.public_url}/twilio/status?call={call}{hop}{STATUS_OVERRIDES}",
            secret=self.secret,
        )
        return xml(self.target.twiml(handed))

    def compiled(self) -> "Template":
        """The same template, taken apart for filling in, when that gives what the library builds.

        It does not when the operator's own words hold one of our marks; such a target is built for every call.
        """
        pieces, pick = _taken_apart(self.build(_MARKED).decode())
        ready = replace(self, pieces=pieces, pick=pick)
        return ready if ready.render(_SAMPLE) == self.build(_SAMPLE) else self


def given(parameters: Parameters, handoff: Handoff) -> Parameters:
    """What the agent is given: the gateway's own names, then the parameters, then the contact's variables."""
    own = (
        ("gateway_call", handoff.call),
        ("gateway_version", handoff.version),
        ("gateway_route", handoff.route),
        ("gateway_direction", handoff.direction),
        ("gateway_from", handoff.from_),
        ("gateway_to", handoff.to),
    )
    cleaned = tuple((clean(name), clean(value)) for name, value in (*own, *parameters, *handoff.variables))
    added = tuple((name, value) for name, value in cleaned[len(own) :] if name and not reserved(name))
    return merged(cleaned[: len(own)], added)


# A mark shows the context it landed in: U+FDD0, a character reserved for such use, stands as itself where texts
# stand as they are, and comes out percent-encoded where they are percent-encoded.
_MARKS = tuple(f"\ufdd0{place}\ufdd0" for place in range(6))
_MARKED, _SAMPLE = (
    Handoff(call=texts[0], version=texts[1], route=texts[2], direction=texts[3], from_=texts[4], to=texts[5])
    for texts in (_MARKS, ("v3:Ab_1.2", "sales@12", "sales-2", "inbound", "+14155550100", "client:kim@home"))
)


_MARK = re.compile(f"\ufdd0([0-5])\ufdd0|{quote(chr(0xFDD0))}([0-5]){quote(chr(0xFDD0))}")


def _taken_apart(marked: str) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Iterable[str]]]:
    """The text around the marks, with a blank for each, and what picks the values that go there in order.

    It picks from twelve values: the six texts as they are, then the six percent-encoded.
    """
    parts = _MARK.split(marked)
    marks = zip(parts[1::3], parts[2::3], strict=True)
    places = [int(raw) if raw else int(quoted) + len(_MARKS) for raw, quoted in marks]
    pieces = "\0\0".join(parts[::3]).split("\0")
    if len(places) < 2:
        return tuple(pieces), lambda values: [values[place] for place in places]
    return tuple(pieces), itemgetter(*places)

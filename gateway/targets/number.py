"""A target that is a telephone number: a person, or an agent behind one."""

from typing import Any, ClassVar

from gateway.targets.kind import E164, EndsBy, Handed, Kind, Seconds, dial, progress


class Number(Kind):
    """``{ kind = "number", to = "+14155550199" }``; ``timeout`` in seconds of ringing.

    ``caller_id`` is what the person sees; Twilio takes only numbers the account owns or has verified, and shows
    the caller's own number when it is left out. The telephone network carries no parameters.
    """

    ends_by: ClassVar[EndsBy] = "dial"
    hands_over: ClassVar[bool] = False

    to: E164
    timeout: Seconds | None = None
    caller_id: E164 | None = None

    def twiml(self, handed: Handed) -> Any:
        """``<Dial><Number>``."""
        answer, leg = dial(handed, timeout=self.timeout, caller_id=self.caller_id)
        leg.number(self.to, **progress(handed))
        return answer

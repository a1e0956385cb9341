"""A target that answers with TwiML of its own: Twilio is redirected to its URL."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from gateway.model import Parameters
from gateway.targets.address import no_reserved_query, web_address
from gateway.targets.kind import EndsBy, Handed, Kind, response
from gateway.targets.parameters import query


def _url(url: str) -> str:
    no_reserved_query(web_address(url, "https").query)
    return url


class Webhook(Kind):
    """``{ kind = "webhook", url = "https://…" }``. Query parameters are the only channel of a ``<Redirect>``."""

    ends_by: ClassVar[EndsBy] = "none"

    url: Annotated[str, AfterValidator(_url)]

    def twiml(self, handed: Handed) -> Any:
        """One ``<Redirect>``; nothing after it would run."""
        answer = response()
        answer.redirect(self.address(handed.parameters), method="POST")
        return answer

    def address(self, parameters: Parameters) -> str:
        """The URL with everything the agent is given; its own query and connection overrides are kept."""
        url, mark, overrides = self.url.partition("#")
        joint = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
        return f"{url}{joint}{query(parameters)}{mark}{overrides}"

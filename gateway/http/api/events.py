"""Events: what changes, as it changes, over one connection that stays open."""

from gateway.http.api.endpoint import Ask, Following, endpoint


@endpoint("GET", "/events", role="viewer")
async def follow_events(ask: Ask) -> Following:
    """Server-sent events of what changes, after a first snapshot or from the Last-Event-ID on."""
    return Following()


ENDPOINTS = (follow_events,)

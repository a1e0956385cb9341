"""The HTTP API under ``/api/v1``: one file per noun, one function per endpoint, one table of all of them."""

from gateway.http.api import (
    agents,
    audit,
    calls,
    campaigns,
    experiments,
    notifications,
    numbers,
    outbound,
    overview,
    results,
    routes,
    settings,
    tokens,
)
from gateway.http.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *agents.ENDPOINTS,
    *routes.ENDPOINTS,
    *experiments.ENDPOINTS,
    *results.ENDPOINTS,
    *calls.ENDPOINTS,
    *numbers.ENDPOINTS,
    *tokens.ENDPOINTS,
    *outbound.ENDPOINTS,
    *campaigns.ENDPOINTS,
    *notifications.ENDPOINTS,
    *audit.ENDPOINTS,
    *overview.ENDPOINTS,
    *settings.ENDPOINTS,
)

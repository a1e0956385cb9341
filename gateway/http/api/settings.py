"""The settings as the gateway read them, without their secrets."""

from typing import Any

from gateway.http.api.endpoint import Ask, endpoint


@endpoint("GET", "/settings", role="admin")
async def show_settings(ask: Ask) -> dict[str, Any]:
    """Every setting with its value and where it comes from; of a secret only whether it is set."""
    told = ask.gateway.settings.describe()
    return {"settings": [{"key": key, "value": value, "source": source} for key, value, source in told], "next": None}


ENDPOINTS = (show_settings,)

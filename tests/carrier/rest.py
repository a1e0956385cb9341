"""Twilio's REST API as a double at the wire: it answers as it is told, and keeps every request."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import ACCOUNT, NOBODY, WEBHOOK_SECRET, Running, listening, running, settings_for, write_files

NUMBER = {
    "sid": "PN" + "0" * 32,
    "account_sid": ACCOUNT,
    "phone_number": "+14155550100",
    "voice_url": "https://elsewhere.example.com/",
    "status_callback": "",
    "voice_fallback_url": "",
    "voice_application_sid": "",
    "trunk_sid": "",
}


class Rest:
    """Answers as it is told, and keeps every request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.status = 200
        self.call: dict[str, Any] = {"status": "completed", "duration": "42"}
        self.hang = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.method, request.path, form, request.headers.get("Authorization", "")))
        if self.hang:
            await asyncio.sleep(30)
        if self.status == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if self.status >= 400:
            return web.json_response({"code": 20000, "message": "no", "status": self.status}, status=self.status)
        if "/Calls/" in request.path:
            return web.json_response({"sid": "CA1", **self.call})
        if request.method == "POST":
            changed = {
                key: form.get(name, "")
                for key, name in (("voice_url", "VoiceUrl"), ("status_callback", "StatusCallback"))
            }
            return web.json_response(NUMBER | changed)
        return web.json_response({"incoming_phone_numbers": [NUMBER], "page_size": 50, "next_page_uri": None})


@pytest.fixture
async def rest() -> AsyncIterator[tuple[Rest, str]]:
    double, app = Rest(), web.Application()
    app.router.add_route("*", "/{tail:.*}", double.handle)
    async with listening(app) as url:
        yield double, url


@pytest.fixture
async def asking(tmp_path: Path, database_url: str, rest: tuple[Rest, str]) -> AsyncIterator[tuple[Rest, Running]]:
    double, url = rest
    write_files(tmp_path)
    environ = {
        "GATEWAY_TWILIO__API_BASE_URL": url,
        "GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["US"]',
        "GATEWAY_OUTBOUND__WINDOW": "always",
        "GATEWAY_NOTIFICATIONS__RECEIVERS": json.dumps({"ops": {"url": NOBODY, "secret": WEBHOOK_SECRET}}),
    }
    async with running(settings_for(tmp_path, database_url, **environ)) as served:
        yield double, served

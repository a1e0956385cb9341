"""A gateway with the example files, a browser beside it, and an eye on all that goes wrong in the browser."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.browser.chromium import chromium
from tests.conftest import ADMIN, Running, running, settings_for, write_files

AXE = Path(__file__).parents[1] / "tools/node_modules/axe-core/axe.min.js"

# Only what is wrong is gathered: to tell of all that is right takes most of the time.
AUDIT = "axe.run(document, {resultTypes: ['violations']}).then((told) => JSON.stringify(told.violations))"


@dataclass(kw_only=True)
class Desk:
    """An operator's browser: everything it complains of, and every address it asks for."""

    served: Running
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    async def sit(self, token: str = ADMIN, **options: object) -> Page:
        """A page of somebody who signed in through the form."""
        page = await self.page(**options)
        await page.goto(self.served.url + "/sign-in")
        await page.get_by_label("API token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(self.served.url + "/")
        return page

    async def page(self, **options: object) -> Page:
        """A page of a browser that knows nothing yet."""
        context = await self.browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)  # type: ignore[arg-type]
        self.contexts.append(context)
        page = await context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))
        return page

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    async def token(self, role: str) -> str:
        """A fresh token of a role."""
        made = await self.served.api("POST", "/tokens", {"name": f"the {role}", "role": role})
        secret: str = made.body["token"]["secret"]
        return secret


async def serious(page: Page) -> dict[str, list[str]]:
    """What axe-core finds on an open page that keeps people from using it, and where."""
    assert AXE.exists(), "axe-core is missing: `make test` installs it, or npm ci in tests/tools"
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    told = json.loads(await page.evaluate(AUDIT))
    found = [violation for violation in told if violation["impact"] in ("serious", "critical")]
    return {one["id"]: [node["html"] for node in one["nodes"]][:3] for one in found}


@asynccontextmanager
async def watched(served: Running) -> AsyncIterator[Desk]:
    """A desk at a gateway that serves; whatever the browser complained of fails the test."""
    async with chromium() as browser:
        desk = Desk(served=served, browser=browser)
        yield desk
        for context in desk.contexts:
            await context.close()
    # Connections that the browser opened in advance are taken before the gateway shuts: asyncio would lose them.
    await asyncio.sleep(0.05)
    assert desk.complaints == []
    assert [url for url in desk.asked if not url.startswith((served.url, "data:"))] == []


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk at a gateway with the example files."""
    write_files(tmp_path)
    settings = settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")
    async with running(settings) as served, watched(served) as desk:
        yield desk

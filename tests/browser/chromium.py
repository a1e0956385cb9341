"""Finds a Chromium and opens it; where there is none, says what to install."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Playwright, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Nothing but the gateway is spoken to.
_QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
)
MISSING = (
    "these tests need Chromium: install the package chromium (apt-get install chromium), or run "
    "`playwright install chromium`, or name one in the variable CHROMIUM"
)


def find(playwright: Playwright) -> str:
    """The path of a Chromium: of the variable CHROMIUM, on PATH, or playwright's own download."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).exists():
            raise AssertionError(f"CHROMIUM names {named}, which does not exist; {MISSING}")
        return named
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    own = playwright.chromium.executable_path
    if not Path(own).exists():
        raise AssertionError(MISSING)
    return own


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser."""
    async with async_playwright() as playwright:
        arguments = [*_QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = await playwright.chromium.launch(executable_path=find(playwright), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()

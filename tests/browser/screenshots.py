"""Writes every page of the console as a picture: wide and narrow, light and dark. ``make screenshots`` runs it.

The whole pages go to ``build/screenshots``, the upper parts of those that the documents show to ``docs/images``.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from playwright.async_api import Browser, FloatRect, Page

from gateway import log
from gateway.simulator import listen
from tests.browser.chromium import chromium
from tests.browser.scenery import ROOT, TALKED, call_lists, remember, scene, steer
from tests.conftest import ADMIN, Running, free_port, running, settings_for

WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
CALLS = 190
"""Calls on a working day; with so many the verdicts of all tests are in."""
PAGES = {
    "overview": "/",
    "routes": "/routes",
    "route": "/routes/support",
    "route-outbound": "/routes/renewals",
    "route-off": "/routes/after-hours",
    "route-edit": "/routes/support/edit",
    "route-new": "/new-route",
    "experiments": "/experiments",
    "experiment": "/experiments/support-1",
    "experiment-sticky": "/experiments/sales-1",
    "experiment-three": "/experiments/billing-1",
    "experiment-blocked": "/experiments/claims-1",
    "experiment-draft": "/experiments/after-hours-1",
    "samples": "/experiments/support-1/samples",
    "label": "/experiments/support-1/label",
    "report": "/experiments/support-1/report",
    "agents": "/agents",
    "agent": "/agents/support?old=3&new=4",
    "agent-new": "/new-agent",
    "calls": "/calls",
    "calls-found": "/calls?route=billing&arm=c",
    "call": f"/calls/{TALKED}",
    "campaigns": "/campaigns",
    "campaign-new": "/new-campaign",
    "suppressions": "/suppressions",
    "dialing": "/dialing",
    "tokens": "/admin/tokens",
    "audit": "/admin/audit",
    "settings": "/admin/settings",
    "health": "/admin/health",
    "no-such-call": "/calls/CA0",
    "no-such-route": "/routes/nothing",
}
IMAGES = ROOT / "docs/images"
SHOWN = (
    "overview-1280-light",
    "overview-360-dark",
    "route-1280-light",
    "experiment-1280-light",
    "campaign-1280-light",
    "call-1280-dark",
)
SHOWN_HEIGHT = 1400
EMPTY = (
    "/",
    "/routes",
    "/experiments",
    "/agents",
    "/calls",
    "/campaigns",
    "/suppressions",
    "/admin/tokens",
    "/new-route",
    "/new-campaign",
)

Deed = Callable[[Page, Running], Awaitable[None]]


async def main(folder: Path) -> None:
    """Fill one gateway and leave another empty, and take the pictures."""
    log.configure(level="critical")
    with tempfile.TemporaryDirectory(prefix="gateway-screenshots-") as name:
        home, port = Path(name) / "full", free_port()
        home.mkdir()
        settings, people = scene(home, port)
        await remember(settings, calls=CALLS)
        async with listen(people, port), running(settings) as served, chromium() as browser:
            await steer(served)
            campaigns = await call_lists(served)
            for scheme in SCHEMES:
                for width in WIDTHS:
                    await take(browser, served, folder, scheme, width, campaigns)
        blank = Path(name) / "empty"
        blank.mkdir()
        async with running(settings_for(blank, f"sqlite:///{blank}/gateway.db")) as served, chromium() as browser:
            for scheme, width in ((SCHEMES[0], WIDTHS[0]), (SCHEMES[1], WIDTHS[1])):
                page = await opened(browser, served, scheme, width)
                for path in EMPTY:
                    told = path.strip("/").replace("/", "-") or "overview"
                    await shoot(page, served.url + path, folder / f"empty-{told}-{width}-{scheme}.png")


async def take(
    browser: Browser, served: Running, folder: Path, scheme: str, width: int, campaigns: Mapping[str, str]
) -> None:
    """Every page in one colour scheme and width."""
    page = await opened(browser, served, scheme, width, folder / f"sign-in-{width}-{scheme}.png")
    for name, path in (PAGES | dict(campaigns)).items():
        await shoot(page, served.url + path, folder / f"{name}-{width}-{scheme}.png")
    for name, (path, deed) in DEEDS.items():
        await page.goto(served.url + campaigns.get(path, path))
        await deed(page, served)
        await page.wait_for_timeout(250)
        # What lies over the page is where the window is.
        whole = await page.locator("dialog[open]").count() == 0
        await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=whole)
    await page.context.close()


async def opened(browser: Browser, served: Running, scheme: str, width: int, door: Path | None = None) -> Page:
    """A page of somebody who has signed in; ``door`` is where a picture of the door goes."""
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800 if width > 600 else 720}}
    context = await browser.new_context(**options, locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(served.url + "/sign-in")
    if door is not None:
        await page.screenshot(path=door, full_page=True)
    await page.get_by_label("API token").fill(ADMIN)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(served.url + "/")
    return page


async def shoot(page: Page, url: str, file: Path) -> None:
    """One picture of a whole page."""
    await page.goto(url)
    await page.wait_for_timeout(250)
    await page.screenshot(path=file, full_page=True)
    if file.stem in SHOWN:
        width = int(file.stem.split("-")[1])
        height = min(SHOWN_HEIGHT, await page.evaluate("document.documentElement.scrollHeight"))
        part: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
        await page.screenshot(path=IMAGES / file.name, full_page=True, clip=part)


# -- what is seen only after a deed ------------------------------------------------------------------------------


async def _preview(page: Page, served: Running) -> None:
    await page.get_by_role("button", name="Preview").click()


async def _stop(page: Page, served: Running) -> None:
    if not await page.get_by_role("link", name="Stop all dialling").is_visible():
        return
    await page.get_by_role("link", name="Stop all dialling").click()


async def _review(page: Page, served: Running) -> None:
    await page.get_by_label("Share of Version B in percent").fill("55")
    await page.get_by_label("Share of Version B in percent").press("Tab")
    await page.get_by_role("button", name="Review changes").click()


async def _conflict(page: Page, served: Running) -> None:
    await page.get_by_label("Share of Version B in percent").fill("50")
    await page.get_by_label("Share of Version B in percent").press("Tab")
    found = await served.api("GET", "/routes/support")
    body = found.body["route"]["body"]
    share = 41 if body["ab_test"]["split"]["b"] != 41 else 42
    body["ab_test"]["split"] = {"a": 100 - share, "b": share}
    changed = {"If_Match": found.headers["ETag"], "X_Message": "a little more to B"}
    await served.api("PUT", "/routes/support", body, **changed)
    await page.get_by_role("button", name="Review changes").click()


async def _mistakes(page: Page, served: Running) -> None:
    await page.get_by_label("Name", exact=True).fill("Spring")
    await page.get_by_label("A busy line").fill("soon")
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": b"to\n12\n"}
    await page.get_by_label("CSV file").set_input_files(file)  # type: ignore[arg-type]
    await page.get_by_role("button", name="Keep the list").click()
    await page.get_by_role("alert").wait_for()


async def _token(page: Page, served: Running) -> None:
    await page.get_by_label("Whose").fill("the night shift")
    await page.get_by_role("button", name="Make a token").click()


async def _try(page: Page, served: Running) -> None:
    await page.get_by_role("button", name="Test support@6").click()
    await page.get_by_role("status").wait_for()


async def _unfold(page: Page, served: Running) -> None:
    await page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")


DEEDS: Mapping[str, tuple[str, Deed]] = {
    "campaign-preview": ("campaign-draft", _preview),
    "stop-dialling": ("/calls", _stop),
    "route-review": ("/routes/support", _review),
    "route-conflict": ("/routes/support", _conflict),
    "campaign-mistakes": ("/new-campaign", _mistakes),
    "token-shown": ("/admin/tokens", _token),
    "agent-tested": ("/agents/support", _try),
    "experiment-unfolded": ("/experiments/support-1", _unfold),
}


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/screenshots"
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))

"""Writes every page of the console as a picture: wide and narrow, light and dark. ``make screenshots`` runs it."""

import asyncio
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page

from gateway import log
from gateway.demo import BEHAVIOURS
from gateway.simulator import Behaviour, Callee, Faults, Plan, RestPlan, listen, simulate
from tests.browser.chromium import chromium
from tests.conftest import ACCOUNT, ADMIN, TOKEN, Running, free_port, running, settings_for

ROOT = Path(__file__).parents[2]
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
TALKED = "CA" + "7" * 32
PAGES = {
    "overview": "/",
    "routes": "/routes",
    "route": "/routes/support",
    "route-edit": "/routes/support/edit",
    "route-new": "/new-route",
    "experiments": "/experiments",
    "experiment": "/experiments/support-1",
    "samples": "/experiments/support-1/samples",
    "label": "/experiments/support-1/label",
    "report": "/experiments/support-1/report",
    "draft": "/experiments/renewals-1",
    "agents": "/agents",
    "agent": "/agents/support?old=3&new=4",
    "agent-new": "/new-agent",
    "calls": "/calls",
    "call": f"/calls/{TALKED}",
    "campaigns": "/campaigns",
    "campaign-new": "/new-campaign",
    "suppressions": "/suppressions",
    "dialing": "/dialing",
    "tokens": "/admin/tokens",
    "audit": "/admin/audit",
    "settings": "/admin/settings",
    "health": "/admin/health",
}


async def main(folder: Path) -> None:
    """Fill a gateway with a day of calls, and take the pictures."""
    log.configure(level="error")
    with tempfile.TemporaryDirectory(prefix="gateway-screenshots-") as name:
        home = Path(name)
        shutil.copytree(ROOT / "routes", home / "routes")
        shutil.copytree(ROOT / "config/agents", home / "agents")
        port = free_port()
        settings = settings_for(
            home,
            f"sqlite:///{home}/gateway.db",
            GATEWAY_TWILIO__API_BASE_URL=f"http://127.0.0.1:{port}",
            GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
            GATEWAY_OUTBOUND__WINDOW="always",
            GATEWAY_OUTBOUND__CALLS_PER_SECOND="30",
            GATEWAY_OUTBOUND__MAX_CONCURRENT="60",
        )
        people = RestPlan(
            account=ACCOUNT,
            token=TOKEN,
            public_url=settings.server.public_url,
            agent_token=ADMIN,
            rate=1000.0,
            speed=60.0,
            callee=Callee(busy=0.12, no_answer=0.18, machine=0.06),
            behaviours=BEHAVIOURS,
        )
        async with running(settings) as served:
            await fill(served)
        spread(home / "gateway.db")
        async with listen(people, port), running(settings) as served, chromium() as browser:
            await steer(served)
            campaigns = await call_lists(served)
            for scheme in SCHEMES:
                for width in WIDTHS:
                    await take(browser, served, folder, scheme, width, campaigns)


async def fill(served: Running) -> None:
    """Two busy lines, and one call with all there is to see of a call."""
    plan = Plan(
        public_url=served.url,
        account=ACCOUNT,
        token=TOKEN,
        numbers=("+14155550100", "+14155550100", "+14155550100", "+14155550101"),
        agent_token=ADMIN,
        calls=600,
        rate=300,
        speed=50_000,
        behaviours={**BEHAVIOURS, "support@4": Behaviour(success=0.71, seconds=115, refuses=0.02)},
        faults=Faults(twice=0.05, callback_doubled=0.05),
    )
    await simulate(plan)
    await served.ring(CallSid=TALKED, From="+12125550142")
    for status in ("in-progress", "completed"):
        await served.ring("/twilio/status", CallSid=TALKED, CallStatus=status, CallDuration="96")
    said = (
        ("agent", "Thank you for calling Northwind support. How can I help?"),
        ("caller", "My invoice for April shows two charges for the same seat."),
        ("agent", "I see both charges. One is a duplicate; I have refunded it, and you will get an e-mail shortly."),
        ("caller", "That was quick. Thank you!"),
    )
    lines = [{"role": role, "text": text, "at": 1.5 + 9 * place} for place, (role, text) in enumerate(said)]
    outcome = {"success": True, "sentiment": 0.8, "fields": {"intent": "billing", "csat": 5}, "transcript": lines}
    await served.api("POST", f"/calls/{TALKED}/outcome", outcome)


def spread(file: Path) -> None:
    """Move the calls over the last day, more of them by day than by night."""
    shape = (1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 17, 15, 16, 19, 21, 18, 14, 10, 7, 5, 4, 3, 2, 9)
    hours = [hour for hour, weight in enumerate(shape) for _ in range(weight)]
    with sqlite3.connect(file) as connection:
        count = connection.execute("SELECT count(*) FROM call").fetchone()[0]
        for seq in range(1, count):
            back = (23 - hours[seq * len(hours) // count]) * 3_600_000
            name = connection.execute("SELECT id FROM call WHERE seq = ?", (seq,)).fetchone()[0]
            connection.execute("UPDATE call_event SET at = at - ? WHERE call = ?", (back, name))
            connection.execute("UPDATE call SET received_at = received_at - ? WHERE seq = ?", (back, seq))
    connection.close()


async def steer(served: Running) -> None:
    """What operators do in a day."""
    handed_on = Behaviour(refuses=1.0)
    plan = Plan(
        public_url=served.url,
        account=ACCOUNT,
        token=TOKEN,
        numbers=("+14155550100",),
        agent_token=ADMIN,
        calls=9,
        rate=300,
        speed=50_000,
        seed=4,
        behaviours={"support@4": handed_on},
    )
    await simulate(plan)
    for _ in range(7):
        await served.ring()
    made = (await served.api("POST", "/tokens", {"name": "kim", "role": "editor"})).body["token"]["secret"]
    await served.api("POST", "/tokens", {"name": "the wallboard", "role": "viewer", "days": 90})
    await served.api("POST", "/tokens", {"name": "support agents", "role": "agent"})
    body = (await served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"]["split"] = {"a": 60, "b": 40}
    await served.api(
        "PUT", "/routes/support", body, token=made, If_Match='"1"', X_Message="more calls to the short greeting"
    )
    await served.api("POST", "/routes/sales/hold", {"to": "a", "reason": "Max speaks too fast today"}, token=made)
    for number in ("+12125550142", "+12125550177"):
        await served.api("POST", "/suppressions", {"number": number}, token=made)


async def call_lists(served: Running) -> dict[str, str]:
    """Campaigns in every state; the addresses of one that runs, one that is over and one that is a draft."""
    route = (await served.api("GET", "/routes/renewals")).body["route"]
    test = route["body"]["ab_test"] | {"enabled": True}
    await served.api("PUT", "/routes/renewals", route["body"] | {"ab_test": test}, If_Match='"1"')

    async def made(name: str, first: int, count: int, verb: str = "", **settings: object) -> str:
        contacts: list[dict[str, object]] = [
            {"to": f"+1212555{number:04}", "variables": {"first_name": "Ada"}}
            for number in range(first, first + count)
        ]
        contacts[3:3] = [{"to": "555 0142"}, {"to": contacts[0]["to"]}, {"to": "+442079460000"}]
        body = {"name": name, "route": "renewals", "contacts": contacts, "settings": settings}
        one = (await served.api("POST", "/campaigns", body)).body["campaign"]
        path = f"/campaigns/{one['id']}"
        if verb:
            await served.api("POST", f"{path}/{verb}")
        return path

    async def until(path: str, done: int) -> None:
        while (await served.api("GET", path)).body["campaign"]["counts"]["done"] < done:
            await asyncio.sleep(0.2)

    over = await made("Trial users, first round", 100, 80, "start")
    await until(over, 80)
    paused = await made("Invoices overdue", 1000, 40, "start", concurrency=4)
    await until(paused, 9)
    await served.api("POST", f"{paused}/pause", {"reason": "the script names last month"})
    await made("Renewals in June", 2000, 260, "start", start_at="2030-06-01T09:00:00-04:00", days=["mon", "tue"])
    draft = await made("Customer survey", 3000, 400, window="10:00-18:00", calls_per_second=0.5)
    retry = {"busy": "30m", "no_answer": "4h"}
    runs = await made("Renewals in May", 4000, 500, "start", concurrency=8, max_attempts=3, retry=retry)
    await until(runs, 90)
    return {"campaign": runs, "campaign-over": over, "campaign-draft": draft}


async def take(
    browser: Browser, served: Running, folder: Path, scheme: str, width: int, campaigns: dict[str, str]
) -> None:
    """Every page in one colour scheme and width."""
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800 if width > 600 else 720}}
    context = await browser.new_context(**options, locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
    page = await context.new_page()
    await shoot(page, served.url + "/sign-in", folder / f"sign-in-{width}-{scheme}.png")
    await sign_in(page, served)
    for name, path in (PAGES | campaigns).items():
        await shoot(page, served.url + path, folder / f"{name}-{width}-{scheme}.png")
    await page.get_by_role("button", name="Preview").click()
    await page.screenshot(path=folder / f"campaign-preview-{width}-{scheme}.png", full_page=True)
    await context.close()


async def sign_in(page: Page, served: Running, token: str = ADMIN) -> None:
    """Sign in as people do."""
    await page.goto(served.url + "/sign-in")
    await page.get_by_label("API token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(served.url + "/")


async def shoot(page: Page, url: str, file: Path) -> None:
    """One picture of a whole page."""
    await page.goto(url)
    await page.wait_for_timeout(250)
    await page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images"
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))

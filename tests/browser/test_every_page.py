"""Every page that the application's own table names, in a real Chromium: none complains, none scrolls sideways, none
shuts people out, none runs what a stranger wrote, and none lets a viewer change anything.
"""

import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from gateway.http.console import PAGES
from gateway.http.console.page import Page as TablePage
from gateway.http.console.signin import DOORS
from tests.browser.conftest import Desk, serious, watched
from tests.conftest import ADMIN, FILES, running, settings_for, write_files
from tests.outbound import ROUTE

CALL = "CA" + "8" * 32
PARTS = 3  # of the pages, each looked at by a test of its own
LONG = "A long word: " + "w" * 120
# Each would run a script if it were taken for anything but text, wherever in a text it stands.
HOSTILE = (
    (
        "<script>window.hit=1</script>",
        '"><img src=x onerror="window.hit=1">',
        "'><svg onload=window.hit=1>",
        "</textarea><script>window.hit=1</script>",
    ),
    (
        "</title><script>window.hit=1</script>",
        '<iframe srcdoc="<script>parent.hit=1</script>">',
        "{{ 7 * 7 }}${7*7}<%= 7*7 %>",
    ),
    ("javascript:window.hit=1", "]]><script>window.hit=1</script>", '" autofocus onfocus="window.hit=1" x="'),
)
# The addresses at which each page of the table is looked at; {draft} and {paused} are campaigns.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/routes": ("/routes", "/routes?search=sup"),
    "/routes/{route}": ("/routes/support", "/routes/sales", "/routes/reminders"),
    "/routes/{route}/edit": ("/routes/support/edit",),
    "/new-route": ("/new-route",),
    "/experiments": ("/experiments",),
    "/experiments/{experiment}": (
        "/experiments/support-1",
        "/experiments/support-2",
        "/experiments/sales-1",
        "/experiments/night-1",
    ),
    "/experiments/{experiment}/samples": ("/experiments/support-2/samples", "/experiments/sales-1/samples"),
    "/experiments/{experiment}/label": ("/experiments/support-2/label",),
    "/experiments/{experiment}/report": ("/experiments/support-2/report",),
    "/agents": ("/agents",),
    "/agents/{agent}": ("/agents/support?old=3&new=6&copy=6", "/agents/support?edit=5"),
    "/new-agent": ("/new-agent",),
    "/calls": ("/calls", "/calls?number=%2B0"),
    "/calls/{call}": (f"/calls/{CALL}",),
    "/campaigns": ("/campaigns", "/campaigns?status=cancelled"),
    "/new-campaign": ("/new-campaign",),
    "/campaigns/{campaign}": ("/campaigns/{draft}", "/campaigns/{paused}"),
    "/campaigns/{campaign}/pause": ("/campaigns/{draft}/pause",),
    "/campaigns/{campaign}/cancel": ("/campaigns/{paused}/cancel",),
    "/suppressions": ("/suppressions",),
    "/dialing": ("/dialing",),
    "/admin/tokens": ("/admin/tokens",),
    "/admin/audit": ("/admin/audit",),
    "/admin/settings": ("/admin/settings",),
    "/admin/health": ("/admin/health",),
}
FOR_STRANGERS = {"/sign-in": ("/sign-in",), "/sign-in/{code}": ("/sign-in/used-before",)}
FILES_TO_KEEP = {"/experiments/{experiment}/export", "/campaigns/{campaign}/contacts.csv"}
LEADS_ELSEWHERE = {"/campaigns/{campaign}/preview"}
DRAFT = """
direction = "inbound"
numbers = ["+14155550109"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = false
name = "by night"
split = { a = 60, b = 40 }
"""


def test_no_page_of_the_table_is_forgotten() -> None:
    table = {one.path for one in PAGES if one.method == "GET" and not one.endless}
    assert table - FILES_TO_KEEP - LEADS_ELSEWHERE == EXAMPLES.keys()
    assert {path for method, path, _ in DOORS if method == "GET"} == FOR_STRANGERS.keys()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk at a gateway with a route and a test of every kind, which may call people but is never told to."""
    write_files(tmp_path, dict(FILES) | {"routes/reminders.toml": ROUTE, "routes/night.toml": DRAFT})
    url = f"sqlite:///{tmp_path}/gateway.db"
    settings = settings_for(
        tmp_path, url, GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]', GATEWAY_OUTBOUND__WINDOW="always"
    )
    async with running(settings) as served, watched(served) as desk:
        yield desk


async def fill(desk: Desk, *texts: str) -> list[str]:
    """What strangers write in every place that takes a text; the addresses of all pages."""
    api = desk.served.api
    text = " ".join(texts)
    await _calls_and_test(desk, text, texts)
    await api("POST", "/suppressions", {"number": "+12125550142", "reason": text})
    await api("POST", "/tokens", {"name": text, "role": "viewer"})
    target = {"kind": "stream", "url": "wss://agents.example.com/6", "parameters": {"prompt": text}}
    await api("POST", "/agents/support/versions", {"target": target, "notes": text, "status": "published"})
    await api("POST", "/routes/sales/hold", {"to": "a", "reason": text})
    people = [
        {"to": "+12125550142", "variables": {text: text}},
        {"to": text},
        {"to": "+12125550143", "timezone": text},
        {"to": "+12125550144", "variables": {text: text}},
    ]
    settings = {"machine": "leave_message", "message": text, "start_at": "2030-05-01T09:00+02:00"}
    body = {"name": text[:200], "route": "reminders", "contacts": people, "settings": settings}
    paused, draft = [(await api("POST", "/campaigns", body)).body["campaign"]["id"] for _ in range(2)]
    assert (await api("POST", f"/campaigns/{paused}/start")).status == 200
    assert (await api("POST", f"/campaigns/{paused}/pause", {"reason": text})).status == 200
    return [one.format(draft=draft, paused=paused) for path in EXAMPLES for one in EXAMPLES[path]]


async def _calls_and_test(desk: Desk, text: str, texts: tuple[str, ...]) -> None:
    api, ring = desk.served.api, desk.served.ring
    body = (await api("GET", "/routes/support")).body["route"]["body"]
    assert (await api("POST", "/experiments/support-1/stop", {"reason": text})).status == 200
    plan = {"hypothesis": text, "primary": {"metric": "success", "min_effect": 0.05}, "strata": ["new_caller"]}
    body["ab_test"] = {"enabled": True, "name": text, "split": {"a": 1, "b": 1}, "plan": plan}
    opened = await api("PUT", "/routes/support", body, If_Match='"2"', X_Message=text)
    assert opened.status == 200, opened.body
    for place in range(8):
        sid = CALL if place == 0 else "CA" + os.urandom(16).hex()
        await ring(CallSid=sid, From=text[:250] if place == 0 else f"+1212555{place:04d}", CallerName=text)
        await ring("/twilio/status", CallSid=sid, CallStatus="completed", CallDuration="65")
        said = [{"role": one[:60], "text": one, "at": 1.0} for one in texts]
        fields = {one[:60]: one for one in texts}
        told = {"success": place > 2, "fields": fields | {"n": 1}, "transcript": said, "final": True}
        assert (await api("POST", f"/calls/{sid}/outcome", told)).status == 200


def forgive(desk: Desk, *statuses: int) -> None:
    """Browsers complain of answers that a test asked for."""
    expected = tuple(f"status of {status}" for status in statuses)
    desk.complaints = [said for said in desk.complaints if not any(one in said for one in expected)]


@pytest.mark.parametrize("texts", HOSTILE)
async def test_what_strangers_write_stays_text(desk: Desk, texts: tuple[str, ...]) -> None:
    paths, text = await fill(desk, *texts), " ".join(texts)
    await desk.served.api("POST", "/dialing/stop", {"reason": text})
    page = await desk.sit()
    for path in paths:
        await page.goto(desk.served.url + path)
        assert await page.evaluate("window.hit") is None, path
    await page.goto(f"{desk.served.url}/experiments/support-2")
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)
    await page.goto(f"{desk.served.url}/calls/{CALL}")
    await expect(page.locator(".said")).to_have_text(texts)
    await expect(page.locator("dd.tel").first).to_have_text(text)
    for one in texts:
        await _refused_names(desk, page, one)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    address = f"{desk.served.url}/api/v1/experiments/support-2/export?format=html"
    async with desk.served.http.get(address, headers=headers) as answer:
        await page.goto("about:blank")
        await page.set_content(await answer.text())
    assert await page.evaluate("window.hit") is None


async def _refused_names(desk: Desk, page: Page, text: str) -> None:
    """A route or a version has no such name; the form that says so shows what was typed, as text."""
    for path, more in (("/new-route", {"Numbers, one in each line": "+14155550177"}), ("/new-agent", {"Where": "x"})):
        await page.goto(desk.served.url + path)
        await page.get_by_label("Name", exact=True).fill(text)
        for label, value in more.items():
            await page.get_by_label(label, exact=True).fill(value)
        await page.locator("main button.solid").click()
        await expect(page.get_by_label("Name", exact=True)).to_have_value(text)
        assert await page.evaluate("window.hit") is None, path
    await page.goto(f"{desk.served.url}/routes/{quote(text, safe='')}")
    assert await page.evaluate("window.hit") is None
    forgive(desk, 404, 422)


async def test_no_page_complains_and_none_scrolls_sideways(desk: Desk) -> None:
    paths = await fill(desk, LONG)
    wide = {}
    for width in (360, 1280):
        page = await desk.sit(viewport={"width": width, "height": 720})
        stranger = await desk.page(viewport={"width": width, "height": 720})
        for one, path in _visits(page, stranger, paths):
            await one.goto(desk.served.url + path)
            wide[path, width] = await one.evaluate("document.documentElement.scrollWidth")
    forgive(desk, 401)  # a link that was used before
    assert {key: is_ for key, is_ in wide.items() if is_ > key[1]} == {}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
async def test_no_page_has_a_serious_accessibility_problem(desk: Desk, scheme: str, width: int, part: int) -> None:
    paths = await fill(desk, "a stranger's word")
    viewport = {"width": width, "height": 720}
    page = await desk.sit(color_scheme=scheme, viewport=viewport)
    stranger = await desk.page(color_scheme=scheme, viewport=viewport)
    found: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    for one, path in list(_visits(page, stranger, paths))[part::PARTS]:
        await one.goto(desk.served.url + path)
        await one.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
        found |= {f"{path}: {name}": where for name, where in (await serious(one)).items()}
        titles[path] = await one.title()
        assert await one.locator("h1").count() == 1, path
    forgive(desk, 401)
    assert found == {}
    assert [path for path, title in titles.items() if not re.fullmatch(r".+ · Call gateway", title)] == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
async def test_what_comes_of_a_form_has_none_either(desk: Desk, scheme: str, width: int) -> None:
    paths = await fill(desk, LONG)
    page = await desk.sit(color_scheme=scheme, viewport={"width": width, "height": 720})
    found: dict[str, list[str]] = {}

    async def look(name: str) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
        found.update({f"{name}: {key}": where for key, where in (await serious(page)).items()})

    async def send(path: str, button: str, **fields: str) -> None:
        await page.goto(desk.served.url + path)
        for label, value in fields.items():
            await page.get_by_label(label.replace("_", " "), exact=True).fill(value)
        await page.get_by_role("main").get_by_role("button", name=button, exact=True).click()
        await look(f"{path} {button} {fields}")

    half = {"Share_of_Version_A_in_percent": "70", "Share_of_Version_B_in_percent": "30"}
    await send("/routes/support", "Review changes", **half)
    await page.goto(desk.served.url + "/routes/support")
    body = (await desk.served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"]["split"] = {"a": 3, "b": 1}
    assert (await desk.served.api("PUT", "/routes/support", body, If_Match='"3"')).status == 200
    await page.get_by_label("Share of Version A in percent", exact=True).fill("60")
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("Somebody else published first")
    await look("conflict")
    await send(next(path for path in paths if path.startswith("/campaigns/cmp_")), "Preview")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Preview of")
    await send("/new-route", "Publish", Name="Not a name", **{"Numbers, one in each line": "555"})
    await send("/new-agent", "Add version 1", Name="night", Where="ftp://x", Further_fields="a =")
    await send("/admin/tokens", "Make a token", Whose="kim")
    await page.goto(desk.served.url + "/routes/nothing")
    await look("no such route")
    await page.goto(desk.served.url + "/calls/CA0")
    await look("no such call")
    await page.get_by_role("link", name="Stop all dialling").click()
    await look("the dialog")
    await page.get_by_role("dialog").get_by_label("Reason").fill("enough")
    await page.get_by_role("dialog").get_by_role("button", name="Stop all dialling").click()
    await expect(page.get_by_role("heading", name="All dialling is stopped")).to_be_visible()
    await look("stopped")
    forgive(desk, 404, 409, 422)
    assert found == {}


def _visits(page: Page, stranger: Page, paths: list[str]) -> Iterator[tuple[Page, str]]:
    yield from ((page, path) for path in paths)
    yield from ((stranger, path) for examples in FOR_STRANGERS.values() for path in examples)


async def test_a_viewer_changes_nothing_on_any_page_or_beside_it(desk: Desk) -> None:
    paths = await fill(desk, "a stranger's word")
    page = await desk.sit(await desk.token("viewer"))
    before = (await desk.served.api("GET", "/audit?limit=1000")).body["audit"]
    for path in paths:
        await page.goto(desk.served.url + path)
        forms = page.locator('form[method="post"]:not([action^="/sign-out"])')
        assert await forms.count() == 0, path
    forgive(desk, 403)
    await page.goto(desk.served.url + "/")
    csrf = await page.locator('input[name="csrf"]').first.input_value()
    for one in PAGES:
        if one.method == "POST" and not one.path.startswith("/sign-out"):
            assert await page.evaluate(FORGED, [_address(one, paths), csrf, one.takes_file]) == 403, one.path
    forgive(desk, 403)
    assert (await desk.served.api("GET", "/audit?limit=1000")).body["audit"] == before


FORGED = """async ([path, csrf, file]) => {
    const body = file ? new FormData() : new URLSearchParams();
    const told = {csrf, reason: "forged", to: "b", base: "1", step: "publish", name: "x", route: "reminders"};
    for (const [name, value] of Object.entries(told)) body.append(name, value);
    if (file) body.append("file", new Blob(["to\\n+12125550142\\n"]), "x.csv");
    return (await fetch(path, {method: "POST", body})).status;
}"""


def _address(one: TablePage, paths: list[str]) -> str:
    """Where a form of the table is sent, with something that exists in each gap."""
    draft = next(path.split("/")[2] for path in paths if re.fullmatch(r"/campaigns/cmp_\w+", path))
    real = {"route": "support", "experiment": "support-2", "agent": "support", "number": "5", "campaign": draft}
    return one.path.format_map(real | {"token": "tok_1"})

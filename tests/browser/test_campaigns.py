"""Campaigns in a real Chromium: from a file to the last call, and how their pages hold up."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from gateway.simulator import Callee
from gateway.simulator.rest import RestSide
from tests.browser.conftest import Desk, watched
from tests.browser.test_every_page import HOSTILE
from tests.outbound import simulated

ADA, KIM, NOOR = "+12125550142", "+12125550143", "+12125550144"
LIST = f"to,first_name\n{ADA},Ada\n{KIM},Kim\n5550199,Sam\n{NOOR},Noor\n{ADA},Ada again\n"


@pytest.fixture
async def twilio(tmp_path: Path) -> AsyncIterator[tuple[Desk, RestSide]]:
    """A desk at a gateway that dials by itself, and the simulated Twilio that takes the calls; Kim's line is busy."""
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{tmp_path}/gateway.db"
        served, side = await stack.enter_async_context(
            simulated(tmp_path, url, callees={KIM: Callee(busy=1.0)}, speed=100.0)
        )
        yield await stack.enter_async_context(watched(served)), side


async def upload(page: Page, text: str = LIST, **fields: str) -> None:
    """Fill in the form of a new campaign and send it."""
    await page.get_by_label("Name", exact=True).fill(fields.pop("name", "spring"))
    for label, value in fields.items():
        await page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    file: Any = {"name": "people.csv", "mimeType": "text/csv", "buffer": text.encode()}
    await page.get_by_label("CSV file").set_input_files(file)
    await page.get_by_role("button", name="Keep the list").click()


async def opened(desk: Desk, **options: object) -> Page:
    page = await desk.sit(await desk.token("editor"), **options)
    await page.goto(desk.served.url + "/campaigns")
    await page.get_by_role("link", name="Make the first one").click()
    return page


async def test_a_campaign_goes_from_its_file_to_its_end(twilio: tuple[Desk, RestSide]) -> None:
    desk, side = twilio
    page = await opened(desk)
    await upload(page, A_busy_line="1s", Attempts_at_most="2")
    await expect(page.get_by_role("status")).to_contain_text("The list is kept")
    await expect(page.get_by_text("Line 4", exact=True)).to_be_visible()
    await expect(page.locator(".row-problems")).to_contain_text("repeats line 2's number")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_text("it would call 3 contacts")).to_be_visible()
    assert side.creates == 0
    await page.get_by_role("button", name="Start").click()
    await page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="spring")).to_be_visible()
    # From here on nobody touches the page.
    await expect(page.get_by_text("Everybody who could be called has been.")).to_be_visible(timeout=30_000)
    assert await page.locator(".legend dd").all_inner_texts() == ["3", "0", "0", "0", "2"]
    await expect(page.get_by_role("row", name="busy").first).to_contain_text("1")
    assert side.rung == {ADA: 1, KIM: 2, NOOR: 1}
    await page.get_by_label("Result", exact=True).select_option("busy")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator("table.contacts tbody tr")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export these as CSV").click()
    lines = (await (await download.value).path()).read_text().splitlines()
    assert (len(lines), KIM in lines[1]) == (2, True)
    await page.get_by_role("link", name="Look at it").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("out_")


async def test_a_campaign_is_paused_and_cancelled_with_a_reason(twilio: tuple[Desk, RestSide]) -> None:
    desk, side = twilio
    page = await opened(desk)
    await upload(page, Start_at="2030-05-01T09:00")
    # The zone is the operator's own, unless another one is typed.
    await expect(page.get_by_text("Starts")).to_be_visible()
    shown = (await desk.served.api("GET", "/campaigns")).body["campaigns"][0]
    assert shown["settings"]["start_at"] == 1_903_849_200_000  # 09:00 in Berlin
    await page.get_by_role("button", name="Start").click()
    await page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    await expect(page.get_by_text("Waits for its start")).to_be_visible()
    for verb in ("Pause", "Cancel"):
        await page.get_by_role("link", name=verb, exact=True).click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name=f"{verb} the campaign").click()
        # Without a reason nothing happens.
        await dialog.get_by_label("Reason").fill(f"to {verb}")
        await dialog.get_by_role("button", name=f"{verb} the campaign").click()
        await expect(page.locator(".now")).to_contain_text(f"to {verb}", timeout=10_000)
    shown = (await desk.served.api("GET", "/campaigns")).body["campaigns"][0]
    assert (shown["status"], shown["reason"], side.creates) == ("cancelled", "to Cancel", 0)


async def test_what_was_wrong_is_corrected_without_choosing_the_file_again(twilio: tuple[Desk, RestSide]) -> None:
    desk, _ = twilio
    page = await opened(desk)
    await upload(page, A_busy_line="soon", Calls_at_once="3")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was kept")
    desk.complaints = [said for said in desk.complaints if "422" not in said]
    assert await page.get_by_label("Calls at once").input_value() == "3"
    wrong = page.get_by_label("A busy line")
    await expect(wrong).to_have_attribute("aria-invalid", "true")
    await wrong.fill("10m")
    await page.get_by_role("button", name="Keep the list").click()
    await expect(page.get_by_role("status")).to_contain_text("The list is kept")
    await expect(page.get_by_text("busy: 10m")).to_be_visible()


async def test_without_scripts_a_campaign_is_run_all_the_same(twilio: tuple[Desk, RestSide]) -> None:
    desk, side = twilio
    page = await opened(desk, java_script_enabled=False)
    await upload(page, Calls_a_second="0")
    await expect(page.get_by_text("Choose the file again")).to_be_visible()
    desk.complaints = [said for said in desk.complaints if "422" not in said]
    await upload(page, Calls_a_second="2")
    await expect(page.get_by_role("status")).to_contain_text("The list is kept")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("status")).to_contain_text("The campaign is started")
    await page.get_by_role("link", name="Pause", exact=True).click()
    await page.get_by_role("main").get_by_label("Reason").fill("lunch")
    await page.get_by_role("button", name="Pause the campaign").click()
    await expect(page.locator(".now")).to_contain_text("lunch")
    assert side.creates <= 3


async def fill(desk: Desk, text: str) -> tuple[str, ...]:
    """A campaign with a text of a stranger in every place that takes one, and the addresses of its pages."""
    people = [{"to": ADA, "variables": {text: text}}, {"to": text}, {"to": KIM, "timezone": text}]
    settings = {"machine": "leave_message", "message": text, "start_at": "2030-05-01T09:00+02:00"}
    body = {"name": text[:200], "route": "reminders", "contacts": people, "settings": settings}
    made = (await desk.served.api("POST", "/campaigns", body)).body["campaign"]
    path = f"/campaigns/{made['id']}"
    await desk.served.api("POST", f"{path}/start")
    await desk.served.api("POST", f"{path}/pause", {"reason": text})
    draft = (await desk.served.api("POST", "/campaigns", body)).body["campaign"]
    return "/campaigns", path, f"{path}/cancel", f"/campaigns/{draft['id']}", "/new-campaign", "/routes/reminders"


async def test_what_stands_in_a_list_stays_text(twilio: tuple[Desk, RestSide]) -> None:
    desk, _ = twilio
    page = await desk.sit()
    for texts in HOSTILE:
        await page.goto(desk.served.url + "/new-campaign")
        rows = "".join('"' + text.replace('"', '""') + '"\n' for text in texts)
        await upload(page, "to\n" + rows, name=texts[0])
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was kept")
        await expect(page.locator(".row-problems li")).to_have_count(len(texts))
        assert await page.evaluate("window.hit") is None
        assert await page.get_by_label("Name", exact=True).input_value() == texts[0]
    desk.complaints = [said for said in desk.complaints if "422" not in said]


async def test_a_viewer_has_no_buttons_and_is_refused(twilio: tuple[Desk, RestSide]) -> None:
    desk, side = twilio
    paths = await fill(desk, "spring")
    page = await desk.sit(await desk.token("viewer"))
    for path in ("/campaigns", paths[1], paths[3]):
        await page.goto(desk.served.url + path)
        assert await page.locator('form[method="post"]:not([action^="/sign-out"])').count() == 0
        assert ADA not in await page.content()
    csrf = await page.locator('input[name="csrf"]').first.input_value()
    forged = """async ([path, csrf]) => (await fetch(path, {
        method: "POST",
        headers: {"Content-Type": "application/x-www-form-urlencoded"},
        body: new URLSearchParams({csrf, reason: "forged"}),
    })).status"""
    for verb in ("start", "pause", "resume", "cancel", "preview"):
        assert await page.evaluate(forged, [f"{paths[3]}/{verb}", csrf]) == 403
    sent = """async ([path, csrf]) => {
        const body = new FormData();
        for (const [name, value] of [["csrf", csrf], ["name", "x"], ["route", "reminders"]]) body.append(name, value);
        body.append("file", new Blob(["to\\n+12125550142\\n"]), "x.csv");
        return (await fetch(path, {method: "POST", body})).status;
    }"""
    assert await page.evaluate(sent, ["/new-campaign", csrf]) == 403
    desk.complaints = [said for said in desk.complaints if "403" not in said]
    assert len((await desk.served.api("GET", "/campaigns")).body["campaigns"]) == 2
    assert side.creates == 0

"""The pages of experiments in a real Chromium: results that follow the calls, and what stops, wins and stays text."""

import os

from playwright.async_api import Page, expect

from tests.browser.conftest import Desk
from tests.browser.test_console import simulated
from tests.conftest import ADMIN

ONE = "/experiments/support-2"


async def fill(desk: Desk, text: str = "a stranger's word", *, calls: int = 6) -> None:
    """A test with a text of a stranger in every place of it that takes one, and calls that say it too."""
    body = (await desk.served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"] = {"enabled": False}
    await desk.served.api("PUT", "/routes/support", body, If_Match='"1"')
    plan = {"hypothesis": text, "primary": {"metric": "success", "min_effect": 0.05}}
    body["ab_test"] = {"enabled": True, "name": text, "split": {"a": 1, "b": 1}, "plan": plan}
    opened = await desk.served.api("PUT", "/routes/support", body, If_Match='"2"', X_Message=text)
    assert opened.status == 200, opened.body
    for place in range(calls):
        sid = "CA" + os.urandom(16).hex()
        await desk.served.ring(CallSid=sid, From=f"+1212555{place:04d}")
        said = [{"role": text[:60], "text": text, "at": 1.0}]
        told = {"success": True, "fields": {text[:60]: text, "n": 1}, "transcript": said, "final": True}
        await desk.served.api("POST", f"/calls/{sid}/outcome", told)


async def counted(page: Page) -> int:
    """The calls of all versions, as the page shows them."""
    cells = await page.locator('section[aria-labelledby=arms-title] td[data-label="Calls"]').all_inner_texts()
    return sum(int("".join(filter(str.isdecimal, cell))) for cell in cells)


async def test_results_follow_the_calls_while_they_end(desk: Desk) -> None:
    page = await desk.sit()
    await page.goto(f"{desk.served.url}/experiments/support-1")
    await expect(page.locator("[data-pulse-text]")).to_have_text("live")
    await page.evaluate("window.same = true")
    assert await counted(page) == 0
    await simulated(desk.served, 60)
    calls = (await desk.served.api("GET", "/experiments/support-1/results")).body["arms"]
    cells = page.locator("section[aria-labelledby=arms-title] tbody tr")
    for place, arm in enumerate(calls):
        await expect(cells.nth(place).locator('td[data-label="Mature"]')).to_have_text(
            str(arm["calls"]), timeout=25_000
        )
    assert await counted(page) == 60
    await expect(page.get_by_role("heading", name="intent")).to_be_visible()
    assert await page.evaluate("window.same") is True


async def test_what_was_unfolded_stays_so(desk: Desk) -> None:
    await fill(desk)
    page = await desk.sit()
    await page.goto(desk.served.url + ONE)
    await page.get_by_text("Splits, the newest first").click()
    await page.evaluate("document.activeElement.blur()")
    await desk.served.api("POST", "/experiments/support-2/pause", {"reason": "odd noises"})
    await expect(page.get_by_text("odd noises")).to_be_visible(timeout=10_000)
    await expect(page.get_by_text("Epoch 1")).to_be_visible()


async def test_stopped_without_a_winner_version_a_answers(desk: Desk) -> None:
    page = await desk.sit(await desk.token("editor"))
    await page.get_by_role("link", name="Experiments").click()
    await page.get_by_role("link", name="shorter greeting").click()
    await expect(page.get_by_label("No winner: Version A (support@3) answers every call")).to_be_checked()
    await page.get_by_role("button", name="Stop the test").click()
    await expect(page.get_by_role("status")).to_contain_text("no winner was chosen: Version A answers every call")
    await expect(page.locator(".now")).to_contain_text("Version A serves")
    assert await simulated(desk.served, 15) == {"support@3": 15}


async def test_a_winner_is_chosen_and_applied(desk: Desk) -> None:
    page = await desk.sit()
    await page.goto(f"{desk.served.url}/experiments/support-1")
    await page.get_by_label("Version B (support@4) won").check()
    await page.get_by_role("button", name="Stop the test").click()
    await expect(page.get_by_role("status")).to_contain_text("the winner answers every call")
    assert await simulated(desk.served, 8) == {"support@4": 8}
    await expect(page.get_by_label("Winner")).to_have_value("b")
    await page.get_by_role("button", name="Apply the winner").click()
    await expect(page.get_by_role("status")).to_contain_text("The winner is Version A of the route now")
    body = (await desk.served.api("GET", "/routes/support")).body["route"]["body"]
    assert (body["versions"], "ab_test" in body) == ({"a": "support@4"}, False)
    assert await simulated(desk.served, 8) == {"support@4": 8}


async def test_a_viewer_finds_no_button(desk: Desk) -> None:
    await fill(desk)
    page = await desk.sit(await desk.token("viewer"))
    await page.goto(desk.served.url + ONE)
    await expect(page.get_by_role("heading", name="Metrics")).to_be_visible()
    assert await page.locator("main form, main button").count() == 0
    await expect(page.get_by_role("link", name="Label calls")).to_have_count(0)


async def test_without_scripts_everything_is_there(desk: Desk) -> None:
    await fill(desk)
    page = await desk.sit(java_script_enabled=False)
    await page.goto(desk.served.url + ONE)
    await expect(page.locator("svg.interval").first).to_be_visible()
    await page.get_by_label("For").select_option("60")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("status")).to_contain_text("The test is paused")
    await page.goto(f"{desk.served.url}{ONE}/label")
    await page.get_by_label("no", exact=True).check()
    await page.get_by_role("button", name="Keep and go on").click()
    await expect(page.get_by_text("1 of 400 suggested")).to_be_visible()


async def test_the_report_opens_by_itself(desk: Desk) -> None:
    await fill(desk)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    address = f"{desk.served.url}/api/v1{ONE}/export?format=html"
    async with desk.served.http.get(address, headers=headers) as answer:
        text = await answer.text()
    page = await desk.page(viewport={"width": 360, "height": 720})
    await page.set_content(text)
    await expect(page.locator(".verdict-text")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert desk.asked == []

"""The console in a real Chromium: what operators do, what must not work, and how every page holds up."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from gateway.simulator import Plan, simulate
from tests.browser import chromium
from tests.browser.conftest import Desk
from tests.conftest import ACCOUNT, ADMIN, TOKEN, Running, free_port

CALL = "CA" + "8" * 32


async def simulated(served: Running, calls: int) -> dict[str, int]:
    """Let the simulated Twilio ring the support line; returns how many calls each version was given."""
    plan = Plan(
        public_url=served.url,
        account=ACCOUNT,
        token=TOKEN,
        numbers=("+14155550100",),
        agent_token=ADMIN,
        calls=calls,
        rate=400,
        speed=100_000,
    )
    ledger = await simulate(plan)
    given: dict[str, int] = {}
    for entry in ledger.calls.values():
        given[entry.versions[0]] = given.get(entry.versions[0], 0) + 1
    return given


async def slide(page: Page, arm: str, to: int) -> None:
    """Move a slider as a hand on the keyboard does."""
    slider = page.get_by_role("slider", name=f"Share of Version {arm}")
    await slider.focus()
    start = int(await slider.input_value())
    for _ in range(abs(to - start)):
        await slider.press("ArrowRight" if to > start else "ArrowLeft")


async def open_route(desk: Desk, token: str = ADMIN) -> Page:
    page = await desk.sit(token)
    await page.get_by_role("link", name="support", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("support")
    return page


async def test_a_split_set_by_slider_is_obeyed_by_the_next_calls(desk: Desk) -> None:
    page = await open_route(desk)
    await slide(page, "A", 0)
    assert await page.get_by_label("Share of Version B in percent").input_value() == "100"
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.get_by_text("This begins a new stretch of the test")).to_be_visible()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("status")).to_contain_text("The next call obeys")
    assert await simulated(desk.served, 15) == {"support@4": 15}


async def test_the_sliders_of_three_versions_make_up_a_hundred(desk: Desk) -> None:
    page = await open_route(desk)
    await page.get_by_label("Agent version of C").select_option("sales@1")
    shares = [page.get_by_label(f"Share of Version {arm} in percent") for arm in "ABC"]
    assert sum([float(await share.input_value()) for share in shares]) == 100
    await slide(page, "C", 10)
    assert [float(await share.input_value()) for share in shares] == [45, 45, 10]
    await shares[0].fill("80")
    await shares[0].press("Tab")
    assert sum([float(await share.input_value()) for share in shares]) == 100
    await page.get_by_label("Agent version of C").select_option("")
    assert float(await shares[0].input_value()) + float(await shares[1].input_value()) == 100


async def test_two_editors_meet_and_nothing_is_lost(desk: Desk) -> None:
    one, two = await open_route(desk), await open_route(desk, await desk.token("editor"))
    await slide(two, "A", 45)
    await slide(one, "A", 60)
    await one.get_by_role("button", name="Review changes").click()
    await one.get_by_role("button", name="Publish").click()
    await expect(one.get_by_role("status")).to_contain_text("Published")
    await two.get_by_label("Why", exact=True).fill("my reason")
    await two.get_by_role("button", name="Review changes").click()
    conflict = two.get_by_role("alert")
    await expect(conflict).to_contain_text("admin published revision 2")
    assert "60" in await conflict.inner_text()
    assert await two.get_by_label("Share of Version A in percent").input_value() == "45"
    assert await two.get_by_label("Why", exact=True).input_value() == "my reason"
    desk.complaints = [said for said in desk.complaints if "409" not in said]
    await two.get_by_role("button", name="Review changes").click()
    await two.get_by_role("button", name="Publish").click()
    await expect(two.get_by_role("status")).to_contain_text("Published")
    live = (await desk.served.api("GET", "/routes/support")).body["route"]
    assert (live["revision"], live["arms"][0]["share"]) == (3, 0.45)


async def test_switched_off_without_a_winner_version_a_answers(desk: Desk) -> None:
    page = await open_route(desk)
    await expect(page.get_by_text("No winner: Version A answers")).to_be_hidden()
    await page.locator("label.toggle").click()
    await expect(page.get_by_text("No winner: Version A answers")).to_be_visible()
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.get_by_text("No winner is named, so Version A answers")).to_be_visible()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.locator(".verdict")).to_contain_text("no winner was chosen: Version A answers every call")
    assert await simulated(desk.served, 15) == {"support@3": 15}


async def test_the_kill_switch_is_one_click_away(desk: Desk) -> None:
    page = await desk.sit(await desk.token("editor"))
    await page.goto(desk.served.url + "/calls")
    await page.get_by_role("link", name="Stop all dialling").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill("wrong script")
    await dialog.get_by_role("button", name="Stop all dialling").click()
    await expect(page.get_by_role("heading", name="All dialling is stopped")).to_be_visible()
    stopped = (await desk.served.api("GET", "/dialing")).body["dialing"]["stopped"]
    assert (stopped["author"], stopped["reason"]) == ("the editor", "wrong script")
    await page.get_by_role("button", name="Dial again").click()
    await page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="Calls are placed as planned")).to_be_visible()


async def test_the_overview_follows_the_calls_and_the_holds(desk: Desk) -> None:
    page = await desk.sit()
    await expect(page.locator("[data-pulse-text]")).to_have_text("live")
    for _ in range(3):
        await desk.served.ring()
    await expect(page.locator('[data-figure="under_way"]')).to_have_text("3", timeout=10_000)
    await desk.served.api("POST", "/routes/support/hold", {"to": "a", "reason": "calm"})
    await expect(page.get_by_text("support is held to A by admin: calm")).to_be_visible(timeout=10_000)


async def test_a_target_is_tried_with_one_click(desk: Desk) -> None:
    target = {"kind": "stream", "url": f"wss://127.0.0.1:{free_port()}/agent"}
    await desk.served.api("POST", "/agents/support/versions", {"target": target})
    page = await desk.sit(await desk.token("editor"))
    await page.goto(desk.served.url + "/agents/support")
    await page.get_by_role("button", name="Test support@6").click()
    await expect(page.get_by_role("status")).to_contain_text("support@6 No connection")
    await page.goto(desk.served.url + "/agents/support")
    await page.get_by_role("link", name="Edit support@6").click()
    await expect(page.get_by_role("heading", name="Draft support@6")).to_be_visible()


async def test_a_plan_is_settled_and_its_experiment_named(desk: Desk) -> None:
    page = await open_route(desk)
    await page.locator("summary", has_text="Plan").click()
    await page.get_by_label("Primary metric", exact=True).fill("hung_up_early")
    await page.get_by_label("Smallest effect").fill("0.03")
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.get_by_text("This amends the plan of support-1")).to_be_visible()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("status")).to_contain_text("Published")
    await expect(page.get_by_label("Primary metric", exact=True)).to_have_value("hung_up_early")


async def test_a_page_that_nobody_sees_keeps_no_stream(desk: Desk) -> None:
    page = await desk.sit()
    await expect(page.locator("[data-pulse-text]")).to_have_text("live")
    feed = desk.served.gateway.feed
    assert feed.following == 1
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await page.evaluate(hide, True)
    async with asyncio.timeout(20):
        while feed.following:
            # Whoever is gone is found out when something is told.
            await desk.served.ring()
            await page.wait_for_timeout(300)
    await page.evaluate(hide, False)
    async with asyncio.timeout(20):
        while not feed.following:
            await page.wait_for_timeout(100)


async def test_a_page_that_somebody_works_in_is_left_alone(desk: Desk) -> None:
    page = await open_route(desk)
    await slide(page, "A", 47)
    await desk.served.api("POST", "/routes/sales/hold", {"to": "a", "reason": "calm"})
    await page.wait_for_timeout(2500)
    assert await page.get_by_label("Share of Version A in percent").input_value() == "47"


async def test_an_idle_page_follows_and_its_sliders_still_work(desk: Desk) -> None:
    page = await open_route(desk)
    await expect(page.get_by_role("slider")).to_have_count(2)
    body = (await desk.served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"]["split"] = {"a": 70, "b": 30}
    await desk.served.api("PUT", "/routes/support", body, If_Match='"1"')
    await expect(page.get_by_label("Share of Version A in percent")).to_have_value("70", timeout=10_000)
    await slide(page, "A", 75)
    await expect(page.get_by_label("Share of Version B in percent")).to_have_value("25")


async def test_without_scripts_a_split_is_published_all_the_same(desk: Desk) -> None:
    page = await desk.sit(java_script_enabled=False)
    await page.goto(desk.served.url + "/routes/support")
    await page.get_by_label("Share of Version A in percent").fill("90")
    await page.get_by_label("Share of Version B in percent").fill("10")
    await page.get_by_role("button", name="Review changes").click()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("status")).to_contain_text("Published")
    shares = [arm["share"] for arm in (await desk.served.api("GET", "/routes/support")).body["route"]["arms"]]
    assert shares == [0.9, 0.1]


async def test_times_are_the_viewers_and_utc_is_beside_them(desk: Desk) -> None:
    await desk.served.ring(CallSid=CALL)
    page = await desk.sit()
    await page.goto(f"{desk.served.url}/calls/{CALL}")
    began = page.locator("time").first
    assert (await began.get_attribute("title") or "").endswith(" UTC")
    assert "UTC" not in await began.inner_text()


async def test_the_browser_is_watched(desk: Desk) -> None:
    """The control: a script that the policy forbids is complained of."""
    page = await desk.sit()
    await page.evaluate(
        "document.head.append(Object.assign(document.createElement('script'), {textContent: 'hit = 1'}))"
    )
    await page.wait_for_timeout(200)
    assert any("Content Security Policy" in said for said in desk.complaints)
    assert await page.evaluate("window.hit") is None
    desk.complaints.clear()


def test_without_a_browser_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Nothing:
        class chromium:  # noqa: N801
            executable_path = str(tmp_path / "none")

    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssertionError, match="install the package chromium"):
        chromium.find(Nothing)  # type: ignore[arg-type]

"""The pages of experiments: what stands on them, for whom, and what their forms do."""

import json
import os
import re
from typing import Any

import pytest

from gateway.judging import judge
from gateway.storage.experiments import lock_matured
from tests.conftest import Answer, Running
from tests.http.console.visitor import visitor, words
from tests.test_experiments import Lab, lab, shares

__all__ = ["lab"]

PAGE = "/experiments/support-1"
HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
PLAN: dict[str, Any] = {
    "hypothesis": "A shorter greeting keeps more callers",
    "primary": {"metric": "success", "better": "higher", "min_effect": 0.05},
    "guardrails": [{"metric": "hung_up_early", "margin": 0.02}],
}


def steps(text: str) -> set[str]:
    """What can be done to the experiment from its page."""
    return set(re.findall(r'action="/experiments/support-1/(\w+)"', text))


async def talked(served: Running, count: int = 30, **more: Any) -> None:
    """Calls that were reported for good; every third fails."""
    for place in range(count):
        sid = "CA" + os.urandom(16).hex()
        await served.ring(CallSid=sid, From=f"+1212555{place:04d}")
        said = [{"role": "agent", "text": "Good morning"}, {"role": "caller", "text": f"This is call {place}"}]
        told = {"success": place % 3 > 0, "fields": {"intent": "billing"}, "transcript": said, "final": True, **more}
        assert (await served.api("POST", f"/calls/{sid}/outcome", told)).status == 200


async def test_a_draft_is_started_paused_resumed_and_stopped_without_a_winner(lab: Lab) -> None:
    await lab.plan(**PLAN)
    kim = await visitor(lab.served, "editor")
    draft = await kim.get(PAGE)
    assert steps(draft.text) == {"start"}
    for told in ("draft", "Version A serves", "It needs about 4 189 calls", "A shorter greeting keeps more callers"):
        assert told in words(draft).replace("\N{NARROW NO-BREAK SPACE}", " "), told
    assert (await kim.post(f"{PAGE}/start", reason="the board agreed")).status == 303
    running = await kim.get(PAGE)
    assert steps(running.text) == {"pause", "stop", "apply"}
    assert "No winner: Version A (support@3) answers every call" in words(running)
    digest = (await lab.show())["digest"]
    for told in ("Started by the editor", "the board agreed", digest, "B is collecting calls"):
        assert told in words(running), told
    assert (await kim.post(f"{PAGE}/pause", for_="60", reason="odd noises")).headers["Location"].endswith("paused")
    paused = await kim.get(PAGE)
    assert steps(paused.text) == {"resume", "stop", "apply"}
    assert "Version A serves" in words(paused)
    assert (await lab.show())["events"][-1]["detail"]["until"] is not None
    assert (await kim.post(f"{PAGE}/resume")).status == 303
    stopped = await kim.post(f"{PAGE}/stop", winner="", reason="enough")
    assert "no winner was chosen: Version A answers every call" in words(await kim.get(stopped.headers["Location"]))
    assert shares(await lab.ring(8)) == {"a": 8}
    after = await kim.get(PAGE)
    assert steps(after.text) == {"apply"}
    for told in ("maturing", "Version A serves", "Stopped by the editor", "enough"):
        assert told in words(after), told


async def test_it_starts_at_a_time_or_says_what_is_wrong_with_it(lab: Lab) -> None:
    kim = await visitor(lab.served)
    wrong = await kim.post(f"{PAGE}/start", at="soon")
    assert (wrong.status, "Write a time such as" in words(wrong), 'value="soon"' in wrong.text) == (422, True, True)
    assert (await lab.show())["status"] == "draft"
    assert (await kim.post(f"{PAGE}/start", at="2100-05-01T09:30")).headers["Location"].endswith("test_scheduled")
    assert ((await lab.show())["status"], steps((await kim.get(PAGE)).text)) == ("scheduled", {"stop", "apply"})


async def test_the_winner_is_applied_and_a_blocked_verdict_wants_its_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def blocked(name: str) -> str | None:
        return "the split differs from the plan"

    kim = await visitor(lab.served)
    await kim.post(f"{PAGE}/start")
    await kim.post(f"{PAGE}/stop", winner="b")
    assert shares(await lab.ring(6)) == {"b": 6}
    monkeypatch.setattr(lab.served.gateway.experiments, "_caveat", blocked)
    refused = await kim.post(f"{PAGE}/apply", winner="b")
    assert (refused.status, "type support-1" in words(refused)) == (409, True)
    assert "the split differs from the plan" in words(refused)
    wrong = await kim.post(f"{PAGE}/apply", winner="b", override="support-2")
    assert wrong.status == 409
    assert (await kim.post(f"{PAGE}/apply", winner="b", override="support-1", reason="we know why")).status == 303
    body = (await lab.served.api("GET", "/routes/support")).body["route"]["body"]
    assert body["versions"] == {"a": "support@4"}
    page = words(await kim.get(PAGE))
    assert "Applied all the same: the split differs from the plan" in page


async def test_a_stopped_one_is_deleted_and_an_open_one_is_not(lab: Lab) -> None:
    kim = await visitor(lab.served)
    await kim.post(f"{PAGE}/start")
    early = await kim.post(f"{PAGE}/delete")
    assert (early.status, "only a stopped experiment" in words(early)) == (409, True)
    await kim.post(f"{PAGE}/stop")
    await _lock(lab)
    assert steps((await kim.get(PAGE)).text) == {"apply", "delete"}
    assert (await kim.post(f"{PAGE}/delete")).headers["Location"].startswith("/experiments?")
    assert (await kim.get(f"{PAGE}/report")).status == 404
    told = (await lab.served.api("GET", "/experiments")).body["experiments"]
    assert [one["status"] for one in told] == ["draft"]


async def _lock(lab: Lab) -> None:
    database, now = lab.served.gateway.database, lab.served.gateway.wall()
    async with database.write() as connection:
        assert await lock_matured(connection, closed_before=now, now=now) == ["support-1"]


async def test_a_viewer_reads_everything_and_does_nothing(served: Running) -> None:
    await talked(served, 12)
    kim = await visitor(served, "viewer")
    for path in ("/experiments", PAGE, f"{PAGE}/samples", f"{PAGE}/report"):
        answer = await kim.get(path)
        assert answer.status == 200, path
        assert not re.search(r'<form[^>]*action="/experiments', answer.text), path
        assert f"{PAGE}/label" not in answer.text, path
        assert "style=" not in answer.text, path
        assert len(re.findall("<h1", answer.text)) == 1, path
    assert (await kim.get(f"{PAGE}/label")).status == 403
    for verb in ("start", "pause", "resume", "stop", "apply", "delete", "label"):
        assert (await kim.post(f"{PAGE}/{verb}", winner="b")).status == 403, verb
    assert (await served.api("GET", "/experiments/support-1")).body["experiment"]["status"] == "running"


async def test_a_forged_form_stops_nothing(served: Running) -> None:
    kim = await visitor(served)
    assert (await kim.post(f"{PAGE}/stop", csrf="0" * 64)).status == 403
    kim.origin = "https://elsewhere.example"
    assert (await kim.post(f"{PAGE}/stop")).status == 403
    assert (await served.api("GET", "/experiments/support-1")).body["experiment"]["status"] == "running"


async def test_the_page_says_what_the_api_says(served: Running) -> None:
    await talked(served, 60)
    results = (await served.api("GET", "/experiments/support-1/results")).body
    answer = await (await visitor(served)).get(PAGE)
    text = words(answer).replace("\N{NARROW NO-BREAK SPACE}", "")
    assert results["verdict"]["text"] in text
    for arm in results["arms"]:
        assert f"{arm['version']}" in text
        assert f"{arm['calls']}" in text
    for one in results["health"]:
        if one["status"] != "ok":
            assert f"{one['status'].upper()} {one['text'][:1].upper()}{one['text'][1:]}" in text
    success = next(one for one in results["metrics"] if one["name"] == "success")
    for arm in success["arms"].values():
        assert f"{arm['mean'] * 100:.1f} % of {arm['n']}" in text
    assert "Intent Value" in text
    # What a chart shows is also said.
    labels = re.findall(r'class="interval[^"]*"[^>]*aria-label="([^"]*)"', answer.text)
    assert any(one.startswith("completion, B against A: ") for one in labels)


async def test_the_list_tells_the_verdict_of_each(served: Running) -> None:
    await talked(served, 20)
    await judge(served.gateway.database, "support-1", served.gateway.wall())
    told = (await served.api("GET", "/experiments?limit=1")).body
    assert (len(told["experiments"]), told["next"]) == (1, 1)
    rest = (await served.api("GET", "/experiments?cursor=1")).body
    one = next(one for one in [*told["experiments"], *rest["experiments"]] if one["id"] == "support-1")
    assert sum(arm["calls"] for arm in one["arms"]) == 20
    text = words(await (await visitor(served)).get("/experiments"))
    assert one["verdict"]["text"] in text
    for arm in one["arms"]:
        assert f"{arm['version']} · {arm['calls']} calls" in text


async def test_labels_are_given_without_knowing_the_version(served: Running) -> None:
    await talked(served, 10)
    kim = await visitor(served, "editor")
    page = await kim.get(f"{PAGE}/label")
    assert "0 of 400 suggested 0 by you" in words(page)
    assert "Good morning" in words(page)
    for hidden in ("support@", "arm-a", "arm-b", "Version B", "billing", "/calls/CA"):
        assert hidden not in page.text, hidden
    call = re.search(r'name="call" value="(CA\w+)"', page.text)
    assert call is not None
    nothing = await kim.post(f"{PAGE}/label", call=call[1])
    assert (nothing.status, "say at least one thing" in words(nothing).lower()) == (422, True)
    wrong = await kim.post(f"{PAGE}/label", **{"call": call[1], "is.sentiment": "7"})
    assert (wrong.status, call[1] in wrong.text) == (422, True)
    kept = await kim.post(f"{PAGE}/label", **{"call": call[1], "is.success": "no"})
    assert kept.headers["Location"] == f"{PAGE}/label?said=labelled"
    (audited,) = (await served.api("GET", "/audit?action=label")).body["audit"]
    assert (audited["author"], audited["subject"]) == ("the editor", f"call {call[1]}")
    assert audited["detail"] == {"criterion": "success", "value": False}
    # Whoever comes back later goes on where they were, and what was skipped waits until the rest is done.
    later = await kim.get(f"{PAGE}/label")
    assert "1 of 400 suggested 1 by you" in words(later)
    skipped = _given(later)
    assert skipped != call[1]
    assert f"{PAGE}/label?after={skipped}" in later.text
    after = skipped
    for _ in range(8):
        one = await kim.get(f"{PAGE}/label?after={after}")
        kept = await kim.post(f"{PAGE}/label", **{"call": _given(one), "after": after, "is.success": "yes"})
        assert kept.headers["Location"] == f"{PAGE}/label?after={after}&said=labelled"
    done = words(await kim.get(f"{PAGE}/label?after={after}"))
    assert "Only skipped calls are left" in done
    assert "Hear the 1 again" in done
    assert _given(await kim.get(f"{PAGE}/label")) == skipped
    await kim.post(f"{PAGE}/label", **{"call": skipped, "is.success": "yes"})
    assert "You have labelled every call" in words(await kim.get(f"{PAGE}/label"))


def _given(page: Answer) -> str:
    found = re.search(r'name="call" value="(CA\w+)"', page.text)
    assert found is not None
    return found[1]


async def test_samples_stand_side_by_side(served: Running) -> None:
    assert "No mature call" in words(await (await visitor(served)).get(f"{PAGE}/samples"))
    await talked(served, 24)
    kim = await visitor(served)
    first, again, other = [await kim.get(f"{PAGE}/samples?seed={seed}") for seed in (1, 1, 2)]
    assert first.text == again.text
    assert re.findall("This is call", first.text)
    assert re.findall(r"/calls/(CA\w+)", first.text) != re.findall(r"/calls/(CA\w+)", other.text)


async def test_exports_come_as_files(served: Running) -> None:
    await talked(served, 6)
    kim = await visitor(served, "viewer")
    for form, kind in (("csv", "text/csv"), ("jsonl", "application/x-ndjson"), ("json", "application/json")):
        answer = await kim.get(f"{PAGE}/export?format={form}")
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == f'attachment; filename="support-1.{form}"'
        assert answer.headers["Content-Type"].startswith(kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert len(json.loads(answer.text)["calls"]) == 6
    assert (await kim.get(f"{PAGE}/export?format=xml")).status == 422
    assert (await kim.get("/experiments/nothing-1/export")).status == 404


async def test_the_report_is_one_file_that_asks_for_nothing(served: Running) -> None:
    await talked(served, 30, fields={"note": HOSTILE, HOSTILE: 1})
    kim = await visitor(served, "viewer")
    answer = await kim.get(f"{PAGE}/export?format=html")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="support-1.html"'
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    text = answer.text
    assert re.search(r"<(script|link|img|iframe|form)\b", text) is None
    assert re.search(r"""\b(src|href)\s*=\s*["']?(?!#)|url\(|@import""", text) is None
    assert text.count("<svg") >= 3
    verdict = (await served.api("GET", "/experiments/support-1/results")).body["verdict"]["text"]
    assert verdict in words(answer)
    assert "support@3" in text


async def test_the_calls_of_each_day_stand_by_version_as_the_api_has_them(served: Running) -> None:
    assert "Calls by day" not in words(await (await visitor(served, "viewer")).get(PAGE))
    await talked(served, 12)
    (day,) = (await served.api("GET", "/experiments/support-1/results")).body["calls_by_day"]
    assert sum(day["arms"].values()) == 12
    page = await (await visitor(served)).get(PAGE)
    a, b = day["arms"]["a"], day["arms"]["b"]
    assert f"Day (UTC) A B All {day['day']} {a} {b} 12" in words(page)
    assert f"<title>{day['day']}: A {a}, B {b}</title>" in page.text
    assert "calls_by_day of GET /api/v1/experiments/support-1/results" in words(page)
    assert f"{day['day']}: A {a}, B {b}" in (await (await visitor(served)).get(f"{PAGE}/export?format=html")).text


async def test_what_is_not_there_is_not_found(lab: Lab) -> None:
    kim = await visitor(lab.served)
    for path in ("/experiments/nothing-1", f"{PAGE}/report", "/experiments/nothing-1/samples"):
        assert (await kim.get(path)).status == 404, path
    assert (await kim.post("/experiments/nothing-1/stop")).status == 404

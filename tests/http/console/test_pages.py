"""What stands on the pages, for whom, and what their forms do."""

import asyncio
import html
import re
from typing import Any

import pytest

from tests.conftest import Running, free_port
from tests.http.console.visitor import Visitor, stranger, visitor, words

CALL = "CA" + "8" * 32
PAGES = (
    "/",
    "/routes",
    "/routes/support",
    "/agents",
    "/agents/support?old=3&new=4",
    "/calls",
    f"/calls/{CALL}",
    "/suppressions",
    "/dialing",
    "/admin/health",
)
EDITOR_PAGES = ("/routes/support/edit", "/new-route", "/new-agent", "/agents/support?copy=4")
ADMIN_PAGES = ("/admin/tokens", "/admin/audit", "/admin/settings")
SPLIT: dict[str, Any] = {
    "base": "1",
    "enabled": "on",
    "name": "shorter greeting",
    "unit": "call",
    "version__a": "support@3",
    "percent__a": "80",
    "version__b": "support@4",
    "percent__b": "20",
}


async def rung(served: Running) -> None:
    await served.ring(CallSid=CALL, From="+12125550142")
    await served.ring("/twilio/status", CallSid=CALL, CallStatus="completed", CallDuration="65")
    said = [{"role": "caller", "text": "Hello there", "at": 1.0}]
    outcome = {"success": True, "fields": {"csat": 5}, "transcript": said}
    await served.api("POST", f"/calls/{CALL}/outcome", outcome)


def forms(text: str) -> set[str]:
    """Where the forms of a page that change something lead; signing out is everybody's."""
    found = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', text)
    return {path for path in found if not path.startswith("/sign-out")}


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_every_page_is_there_for_those_it_is_for(served: Running, role: str) -> None:
    await rung(served)
    kim = await visitor(served, role)
    pages = [*PAGES, *(EDITOR_PAGES if role != "viewer" else ()), *(ADMIN_PAGES if role == "admin" else ())]
    for path in pages:
        answer = await kim.get(path)
        assert answer.status == 200, path
        assert len(re.findall("<h1", answer.text)) == 1, path
        assert "style=" not in answer.text, path
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=", answer.text), path
        if role == "viewer":
            assert forms(answer.text) == set(), path
            assert "Stop all dialling" not in words(answer), path
        else:
            assert "/dialing/stop" in forms(answer.text), path
        assert ("/admin/audit" in answer.text) is (role == "admin"), path


async def test_a_viewer_sees_no_number_of_a_caller(served: Running) -> None:
    await rung(served)
    await served.api("POST", "/suppressions", {"number": "+12125550142"})
    kim = await visitor(served, "viewer")
    for path in ("/calls", f"/calls/{CALL}", "/routes/support", "/suppressions", "/calls?number=%2B12125550142"):
        text = (await kim.get(path)).text
        # What somebody typed stands in the field, and in the address of what was asked.
        shown = re.sub(r'value="[^"]*"|<details class="sources".*?</details>', "", text, flags=re.DOTALL)
        assert "2125550142" not in shown, path
        assert "…42" in text, path
    assert "+12125550142" in (await (await visitor(served, "editor")).get(f"/calls/{CALL}")).text


async def test_calls_are_found_by_each_field(served: Running) -> None:
    await rung(served)
    await served.ring(From="+12125550177", To="+14155550101")
    kim = await visitor(served)

    async def found(query: str) -> int:
        return len(re.findall(r'<th scope="row"><a href="/calls/', (await kim.get(f"/calls?{query}")).text))

    assert await found("") == 2
    assert await found("number=%2B12125550142") == 1
    assert await found("number=2125550142") == 0
    assert await found("route=sales") == 1
    assert await found("status=completed&arm=") == 1
    assert await found("since=2020-01-01T00:00") == 2
    assert await found("until=2020-01-01T00:00") == 0
    broken = await kim.get("/calls?since=yesterday")
    assert broken.status == 422
    missing = await kim.get("/calls/CA0")
    assert missing.status == 404
    assert "No such call" in words(missing)
    assert (await kim.get(f"/calls?call={CALL}")).headers["Location"] == f"/calls/{CALL}"


async def test_a_call_tells_all_that_is_known_of_it(served: Running) -> None:
    await rung(served)
    text = words(await (await visitor(served)).get(f"/calls/{CALL}"))
    for told in ("It was drawn from the split.", "it comes out the same", "1 min 05 s", "Hello there", "Csat 5"):
        assert told in text


async def test_a_split_is_reviewed_and_then_published(served: Running) -> None:
    kim = await visitor(served, "editor")
    reviewed = await kim.post("/routes/support/split", **SPLIT, step="review")
    assert reviewed.status == 200
    assert "ab_test.split.a 50 → becomes 80" in words(reviewed)
    assert "begins a new stretch" in words(reviewed)
    assert (await served.api("GET", "/routes/support")).body["route"]["revision"] == 1
    done = await kim.post("/routes/support/split", **SPLIT, message="more to A", step="publish")
    assert (done.status, done.headers["Location"]) == (303, "/routes/support?said=published")
    live = (await served.api("GET", "/routes/support")).body["route"]
    assert [arm["share"] for arm in live["arms"]] == [0.8, 0.2]
    newest = (await served.api("GET", "/routes/support/revisions")).body["revisions"][0]
    assert (newest["author"], newest["door"], newest["message"]) == ("the editor", "console", "more to A")
    again = await kim.post("/routes/support/split", **SPLIT | {"base": "2"}, step="publish")
    assert again.headers["Location"].endswith("said=nothing")


async def test_what_is_changed_after_the_review_is_reviewed_again(served: Running) -> None:
    kim = await visitor(served)
    first = await kim.post("/routes/support/split", **SPLIT, step="review")
    found = re.search(r'name="reviewed" value="(\w+)"', first.text)
    assert found is not None
    other = SPLIT | {"percent__a": "10", "percent__b": "90", "reviewed": found[1]}
    again = await kim.post("/routes/support/split", **other, step="publish")
    assert (again.status, "ab_test.split.a 50 → becomes 10" in words(again)) == (200, True)
    assert (await served.api("GET", "/routes/support")).body["route"]["revision"] == 1
    done = await kim.post("/routes/support/split", **SPLIT | {"reviewed": found[1]}, step="publish")
    assert done.status == 303


async def test_a_third_version_can_be_added_and_parameters_are_kept(served: Running) -> None:
    body = (await served.api("GET", "/routes/support")).body["route"]["body"]
    body["versions"]["b"] = {"version": "support@4", "parameters": {"persona": {"name": "Max"}}}
    await served.api("PUT", "/routes/support", body, If_Match='"1"')
    kim = await visitor(served)
    form = SPLIT | {"base": "2", "version__b": "support@3", "version__c": "sales@1", "percent__c": "33,5"}
    await kim.post("/routes/support/split", **form, step="publish")
    now = (await served.api("GET", "/routes/support")).body["route"]["body"]
    assert now["versions"]["b"] == {"version": "support@3", "parameters": {"persona": {"name": "Max"}}}
    assert now["ab_test"]["split"] == {"a": 80, "b": 20, "c": 33.5}


async def test_of_two_editors_the_second_sees_both_states_and_loses_nothing(served: Running) -> None:
    one, two = await visitor(served, "editor"), await visitor(served)
    await one.post("/routes/support/split", **SPLIT, message="eighty", step="publish")
    mine = SPLIT | {"percent__a": "30", "percent__b": "70", "message": "mine"}
    for step in ("review", "publish"):
        met = await two.post("/routes/support/split", **mine, step=step)
        assert met.status == 409
        text = words(met)
        assert "Somebody else published first" in text
        assert "the editor published revision 2" in text
        assert "ab_test.split.a 50 → becomes 80" in text
        assert "ab_test.split.a 80 → becomes 30" in text
        for typed in (
            'name="percent.a" value="30"',
            'name="message" type="text" value="mine"',
            'name="base" value="2"',
        ):
            assert typed in met.text
    assert (await served.api("GET", "/routes/support")).body["route"]["revision"] == 2
    assert (await two.post("/routes/support/split", **mine | {"base": "2"}, step="publish")).status == 303


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"percent__a": "most"}, "Must be a number from 0 up"),
        ({"percent__a": "-5"}, "Must be a number from 0 up"),
        ({"version__b": "support@5"}, "support@5, which is a draft"),
        ({"version__b": "support@77"}, "support@77"),
        ({"unit": "caller"}, "cannot change from"),
    ],
)
async def test_a_mistake_is_told_beside_its_field(served: Running, change: dict[str, str], sentence: str) -> None:
    kim = await visitor(served)
    answer = await kim.post("/routes/support/split", **SPLIT | change, step="review")
    assert answer.status == 422
    assert sentence in words(answer)
    (field,) = change
    if field != "unit":
        assert 'aria-invalid="true"' in answer.text
    assert (await served.api("GET", "/routes/support")).body["route"]["revision"] == 1


async def test_off_without_a_winner_is_version_a(served: Running) -> None:
    kim = await visitor(served)
    off = {key: value for key, value in SPLIT.items() if key != "enabled"} | {"winner": ""}
    reviewed = await kim.post("/routes/support/split", **off, step="review")
    assert "No winner is named, so Version A answers every call from the next one on." in words(reviewed)
    await kim.post("/routes/support/split", **off, step="publish")
    assert "no winner was chosen: Version A answers every call" in words(await kim.get("/routes/support"))
    answers = [await served.ring() for _ in range(12)]
    assert all("support/3" in answer.text for answer in answers)
    won = off | {"base": "2", "winner": "b"}
    await kim.post("/routes/support/split", **won, step="publish")
    assert "Version B won: it answers every call" in words(await kim.get("/routes/support"))
    assert "support/4" in (await served.ring()).text


async def test_a_hold_has_an_end_and_a_reason(served: Running) -> None:
    kim = await visitor(served, "editor")
    refused = await kim.post("/routes/support/hold", to="b", for_="15", reason="")
    assert refused.status == 422
    held = await kim.post("/routes/support/hold", to="b", for_="15", reason="A is silent")
    assert held.status == 303
    hold = (await served.api("GET", "/routes/support/hold")).body["hold"]
    assert (hold["to"], hold["reason"], hold["author"]) == ("b", "A is silent", "the editor")
    assert 14 * 60_000 < hold["until"] - hold["set_at"] <= 15 * 60_000
    assert "held to B" in words(await kim.get("/"))
    await kim.post("/routes/support/release")
    assert (await served.api("GET", "/routes/support/hold")).body["hold"] is None


async def test_the_history_shows_differences_and_rolls_back(served: Running) -> None:
    kim = await visitor(served)
    await kim.post("/routes/support/split", **SPLIT, step="publish")
    page = await kim.get("/routes/support")
    assert "ab_test.split.a 50 → becomes 80" in words(page)
    assert "Roll back to 1" in words(page)
    await kim.post("/routes/support/rollback", to="1")
    assert [arm["share"] for arm in (await served.api("GET", "/routes/support")).body["route"]["arms"]] == [0.5, 0.5]
    assert (await kim.post("/routes/support/rollback", to="99")).status == 404
    assert (await kim.post("/routes/support/rollback", to="x")).status == 409


async def test_a_route_is_made_and_its_numbers_changed(served: Running) -> None:
    kim = await visitor(served, "editor")
    fields = {"name": "night", "direction": "inbound", "numbers": "+14155550177", "version": "support@3"}
    assert (await kim.post("/new-route", **fields | {"numbers": "4155550177"})).status == 422
    made = await kim.post("/new-route", **fields, fallback="+14155550199")
    assert made.headers["Location"] == "/routes/night?said=created"
    again = await kim.post("/new-route", **fields)
    assert (again.status, "Is taken" in words(again)) == (422, True)
    taken = {"base": "1", "numbers": "+14155550177\n+14155550100", "fallback": ""}
    refused = await kim.post("/routes/night/edit", **taken)
    assert refused.status == 422
    assert "+14155550100" in refused.text
    await kim.post("/routes/night/edit", **taken | {"numbers": "+14155550177 +14155550178"})
    body = (await served.api("GET", "/routes/night")).body["route"]["body"]
    assert body["numbers"] == ["+14155550177", "+14155550178"]
    assert "fallback" not in body
    late = await kim.post("/routes/night/edit", **taken | {"numbers": "+14155550179"})
    assert "Somebody else published meanwhile" in words(late)
    assert 'name="base" value="2"' in late.text


async def test_a_version_is_drafted_published_and_retired(served: Running) -> None:
    kim = await visitor(served, "editor")
    bad = await kim.post("/agents/support/versions", kind="stream", address="ftp://x", more="a = ")
    assert (bad.status, "is not TOML" in words(bad).replace("Is not", "is not")) == (422, True)
    bad = await kim.post("/agents/support/versions", kind="stream", address="ftp://x")
    assert (bad.status, 'aria-invalid="true"' in bad.text) == (422, True)
    more = 'parameters = { prompt = "v6" }'
    where = "wss://agents.example.com/support/6"
    await kim.post("/agents/support/versions", kind="stream", address=where, more=more, notes="warmer")
    await kim.post("/agents/support/versions/6/publish")
    agent = (await served.api("GET", "/agents/support")).body["agent"]
    newest = agent["versions"][-1]
    assert (newest["status"], newest["notes"], newest["target"]["parameters"]) == (
        "published",
        "warmer",
        {"prompt": "v6"},
    )
    copied = await kim.get("/agents/support?copy=6")
    assert where in copied.text
    assert "prompt" in copied.text
    compared = words(await kim.get("/agents/support?old=3&new=6"))
    assert "target.parameters.prompt nothing → becomes v6" in compared
    await kim.post("/agents/support/versions/6/retire")
    used = await kim.post("/agents/support/versions/3/retire")
    assert used.status == 409
    assert "support@3" in words(used)
    await kim.post("/new-agent", name="night", kind="number", address="+14155550199", publish="yes")
    assert (await served.api("GET", "/agents/night")).body["agent"]["versions"][0]["status"] == "published"


async def test_the_kill_switch_and_the_suppression_list(served: Running) -> None:
    kim = await visitor(served, "editor")
    assert (await kim.post("/dialing/stop", reason="")).status == 422
    await kim.post("/dialing/stop", reason="wrong script")
    assert "All dialling is stopped by the editor: wrong script" in words(await kim.get("/routes"))
    await kim.post("/dialing/start")
    assert "wrong script" not in words(await kim.get("/routes"))
    refused = await kim.post("/suppressions", number="12", reason="")
    assert (refused.status, "is no E.164 number" in words(refused)) == (422, True)
    await kim.post("/suppressions", number="+12125550142", reason="asked")
    assert "+12125550142" in words(await kim.get("/suppressions?number=0142"))
    await kim.post("/suppressions/release", number="+12125550142")
    assert "+12125550142" not in words(await kim.get("/suppressions"))


async def test_a_token_is_shown_once(served: Running) -> None:
    kim = await visitor(served)
    made = await kim.post("/admin/tokens", name="wallboard", role="viewer", days="30")
    found = re.search(r"gw_[\w-]{20,}", made.text)
    assert found is not None
    assert (await served.api("GET", "/routes", token=found[0])).status == 200
    listed = await kim.get("/admin/tokens")
    assert "wallboard" in listed.text
    assert found[0] not in listed.text
    name = re.search(r"/admin/tokens/(tok_\w+)/revoke", listed.text)
    assert name is not None
    await kim.post(f"/admin/tokens/{name[1]}/revoke")
    assert (await served.api("GET", "/routes", token=found[0])).status == 401
    assert (await kim.post("/admin/tokens", name="", role="king")).status == 422


async def test_settings_are_shown_and_secrets_are_not(served: Running) -> None:
    text = (await (await visitor(served)).get("/admin/settings")).text
    assert "twilio.auth_token" in text
    assert "a secret of this account" not in text
    assert "gw_the_admin" not in text


async def test_the_audit_log_is_filtered(served: Running) -> None:
    await served.api("POST", "/routes/support/hold", {"to": "a", "reason": "calm"})
    kim = await visitor(served)
    held = words(await kim.get("/admin/audit?action=hold"))
    assert "route support" in held
    assert "publication 1" not in held
    assert "Nothing found" in words(await kim.get("/admin/audit?author=nobody"))


async def test_what_waits_for_attention_comes_first(served: Running) -> None:
    call = "CA" + "6" * 32
    await served.ring(CallSid=call)
    await served.ring(f"/twilio/next/{call}?hop=0", CallSid=call, CallStatus="in-progress", DialCallStatus="failed")
    await served.ring(To="+14155550999")
    text = words(await (await visitor(served)).get("/"))
    assert "support failed over once in the last five minutes" in text
    assert "One call today came to a number that no route names" in text
    assert text.index("failed over once") < text.index("Calls under way")
    overview = (await served.api("GET", "/overview")).body
    assert overview["overview"]["calls"]["under_way"] == 2
    assert [line["state"] for line in overview["routes"]] == ["failing over", "testing"]


async def test_a_change_in_the_console_is_written_into_the_folder(served: Running) -> None:
    kim = await visitor(served)
    await kim.post("/routes/support/split", **SPLIT, step="publish")
    file = served.gateway.settings.paths.routes / "support.toml"
    assert "split = { a = 80, b = 20 }" in file.read_text()
    answer = await served.api("POST", "/routes/plan", {})
    assert answer.body["changes"] == []


async def test_text_of_strangers_is_only_text(served: Running) -> None:
    hostile = '"><script>alert(1)</script>'
    call = "CA" + "5" * 32
    await served.ring(CallSid=call, From=hostile)
    report = {"fields": {hostile: hostile}, "transcript": [{"role": hostile, "text": hostile}]}
    await served.api("POST", f"/calls/{call}/outcome", report)
    kim: Visitor = await visitor(served)
    await kim.post("/routes/support/hold", to="a", for_="15", reason=hostile)
    paths = ("/", "/calls", f"/calls/{call}", "/routes/support", "/admin/audit")
    for path in (
        *paths,
        f"/calls?number={hostile}&route={hostile}",
        f"/routes?search={hostile}",
        f"/calls/{hostile}",
    ):
        assert "<script>alert" not in (await kim.get(path)).text, path


async def test_a_draft_is_written_anew_and_what_is_published_is_not(served: Running) -> None:
    kim = await visitor(served, "editor")
    form = await kim.get("/agents/support?edit=5")
    assert "wss://agents.example.com/support/5" in form.text
    assert "Save the draft" in words(form)
    bad = await kim.post("/agents/support/versions/5", kind="stream", address="ftp://x")
    assert (bad.status, "Save the draft" in words(bad)) == (422, True)
    where = "wss://agents.example.com/support/five"
    await kim.post("/agents/support/versions/5", kind="stream", address=where, notes="kinder")
    versions = (await served.api("GET", "/agents/support")).body["agent"]["versions"]
    assert (versions[-1]["status"], versions[-1]["notes"], versions[-1]["target"]["url"]) == (
        "draft",
        "kinder",
        where,
    )
    assert len(versions) == 3
    refused = await served.api("PUT", "/agents/support/versions/3", {"target": {"kind": "stream", "url": where}})
    assert (refused.status, "never changes" in refused.body["error"]["message"]) == (409, True)
    assert (await served.api("PUT", "/agents/support/versions/9", {"target": {}})).status == 404
    assert "Save the draft" not in words(await kim.get("/agents/support?edit=3"))


async def test_a_target_is_tried_by_one_button(served: Running) -> None:
    kim = await visitor(served, "editor")
    where = f"wss://127.0.0.1:{free_port()}/agent"
    await kim.post("/agents/support/versions", kind="stream", address=where)
    assert 'action="/agents/support/versions/6/test"' in (await kim.get("/agents/support")).text
    tried = await kim.post("/agents/support/versions/6/test")
    assert (tried.status, "support@6 No connection" in words(tried)) == (200, True)
    told = (await served.api("POST", "/agents/support/versions/6/test")).body["test"]
    assert (told["ok"], told["text"].startswith("No connection")) == (False, True)
    assert (await served.api("POST", "/agents/support/versions/77/test")).status == 404
    await kim.post("/agents/support/versions", kind="number", address="+14155550199")
    assert "versions/7/test" not in (await kim.get("/agents/support")).text


async def test_the_twiml_of_each_handoff_is_shown_without_secrets(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIP_PASSWORD", "hush-hush")
    sip = {"kind": "sip", "uri": "sip:a@127.0.0.1;transport=tls", "username": "gw", "password": "env:SIP_PASSWORD"}
    await served.api("POST", "/agents/support/versions", {"target": sip, "status": "published"})
    body = (await served.api("GET", "/routes/support")).body["route"]["body"]
    body["versions"] = {"a": "support@3", "b": "support@6"}
    body["ab_test"] = {"enabled": False, "winner": "b"}
    assert (await served.api("PUT", "/routes/support", body, If_Match='"1"')).status == 200
    first = await served.ring(CallSid=CALL, From="+12125550142")
    assert "hush-hush" in first.text
    second = await served.ring(
        f"/twilio/next/{CALL}?hop=0", CallSid=CALL, DialCallStatus="failed", CallStatus="in-progress"
    )
    told = (await served.api("GET", f"/calls/{CALL}/twiml")).body["twiml"]
    assert told[0]["twiml"] == first.text.replace("hush-hush", "(secret SIP_PASSWORD)")
    assert (told[1]["twiml"], told[1]["served"]["version"]) == (second.text, "support@3")
    editor, viewer = await visitor(served, "editor"), await visitor(served, "viewer")
    shown = await editor.get(f"/calls/{CALL}")
    assert "(secret SIP_PASSWORD)" in words(shown)
    assert "wss://agents.example.com/support/3" in words(shown)
    assert "12125550142" in words(shown)
    for answer in (shown, await viewer.get(f"/calls/{CALL}")):
        assert "hush-hush" not in answer.text
    assert "2125550142" not in (await viewer.get(f"/calls/{CALL}")).text
    assert (await served.api("GET", "/calls/CA0/twiml")).status == 404


async def test_a_route_that_fails_over_says_so(served: Running) -> None:
    await served.ring(CallSid=CALL)
    await served.ring("/twilio/status", CallSid=CALL, StreamSid="MZ1", StreamEvent="stream-error", StreamError="gone")
    await served.ring(f"/twilio/next/{CALL}?hop=0", CallSid=CALL, CallStatus="in-progress")
    kim = await visitor(served, "viewer")
    for path in ("/", "/routes", "/routes/support"):
        assert "failing over" in words(await kim.get(path)), path


PLAN = {
    "planned": "yes",
    "plan__hypothesis": "A shorter greeting keeps more callers",
    "plan__metric": "hung_up_early",
    "plan__effect": "0,03",
    "guard__metric__0": "success",
    "guard__margin__0": "0.02",
}


async def test_a_plan_is_settled_in_the_form(served: Running) -> None:
    kim = await visitor(served, "editor")
    reviewed = await kim.post("/routes/support/split", **SPLIT | PLAN, step="review")
    assert reviewed.status == 200
    assert "ab_test.plan.primary.min_effect" in words(reviewed)
    assert 'name="plan.effect" inputmode="decimal" value="0,03"' in reviewed.text
    assert 'name="guard.metric.0" list="metrics" value="success"' in reviewed.text
    await kim.post("/routes/support/split", **SPLIT | PLAN, step="publish")
    test = (await served.api("GET", "/routes/support")).body["route"]["body"]["ab_test"]
    assert test["plan"]["primary"] == {"metric": "hung_up_early", "min_effect": 0.03}
    assert test["plan"]["guardrails"] == [{"metric": "success", "margin": 0.02}]
    shown = await kim.get("/routes/support")
    assert 'value="A shorter greeting keeps more callers"' in shown.text
    # What the form does not speak of stays; what is emptied goes.
    other = {"base": "2", "percent__a": "70", "percent__b": "30"}
    await kim.post("/routes/support/split", **SPLIT | other, step="publish")
    assert (await served.api("GET", "/routes/support")).body["route"]["body"]["ab_test"]["plan"] == test["plan"]
    await kim.post("/routes/support/split", **SPLIT | {"base": "3", "planned": "yes"}, step="publish")
    assert "plan" not in (await served.api("GET", "/routes/support")).body["route"]["body"]["ab_test"]


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"plan__metric": "sucess"}, "plan-metric", "did you mean"),
        ({"plan__effect": "much"}, "plan-effect", "number"),
        ({"plan__effect": ""}, "plan-effect", ""),
        ({"guard__margin__0": "-1"}, "guard-margin-0", ""),
        ({"guard__metric__0": "fields.csat"}, "guard-metric-0", "better"),
    ],
)
async def test_a_mistake_in_the_plan_is_told_beside_its_field(
    served: Running, change: dict[str, str], field: str, sentence: str
) -> None:
    kim = await visitor(served)
    answer = await kim.post("/routes/support/split", **SPLIT | PLAN | change, step="review")
    assert answer.status == 422
    told = re.search(rf'<p class="error" id="{field}-error">([^<]*)', answer.text)
    assert told is not None, words(answer)
    assert sentence in told[1].lower()


async def test_the_review_names_the_experiment_that_starts_and_the_one_that_stops(served: Running) -> None:
    kim = await visitor(served)
    off = {key: value for key, value in SPLIT.items() if key != "enabled"}
    stopping = await kim.post("/routes/support/split", **off, step="review")
    assert "This stops experiment support-1 . No winner is named, so Version A answers" in words(stopping)
    await kim.post("/routes/support/split", **off, step="publish")
    starting = await kim.post("/routes/support/split", **SPLIT | {"base": "2"}, step="review")
    assert "This starts experiment support-2" in words(starting)
    amending = await kim.post("/routes/support/split", **SPLIT | {"base": "2"}, step="publish")
    assert amending.status == 303
    amended = await kim.post("/routes/support/split", **SPLIT | PLAN | {"base": "3"}, step="review")
    assert "This amends the plan of support-2 while it runs" in words(amended)


async def test_a_page_made_for_several_shows_each_their_own(served: Running) -> None:
    people = [await visitor(served, role) for role in ("viewer", "editor")]
    for name in ("kim & co", "<b>lee</b>"):
        made = await served.api("POST", "/tokens", {"name": name, "role": "editor"})
        people.append(await stranger(served).sign_in(made.body["token"]["secret"]))
    marks = [one.csrf for one in people]
    assert len(set(marks)) == len(people)
    for path in ("/", "/routes", "/routes/support", "/experiments/support-1", "/admin/health", "/routes/missing"):
        for answers in (
            await asyncio.gather(*(one.get(path) for one in people)),
            [await one.get(path) for one in people],
        ):
            names = [re.findall(r'<span class="who">(.*?)</span>', answer.text) for answer in answers]
            assert names == [["the viewer"], ["the editor"], ["kim &amp; co"], ["&lt;b&gt;lee&lt;/b&gt;"]], path
            for answer, mark in zip(answers, marks, strict=True):
                assert set(re.findall(r'name="csrf" value="(.*?)"', answer.text)) == {mark}, path
            # Nobody is shown what only others may do.
            assert "/dialing/stop" not in answers[0].text
            assert all("/dialing/stop" in answer.text for answer in answers[1:])


async def test_what_somebody_changed_is_on_their_next_page_however_many_look(served: Running) -> None:
    kim = await visitor(served, "editor")
    others = [await visitor(served) for _ in range(3)]

    async def look(one: Visitor) -> None:
        for _ in range(20):
            assert (await one.get("/routes/support")).status == 200

    looking = [asyncio.create_task(look(one)) for one in (kim, *others)]
    for turn in range(6):
        await kim.post("/routes/support/hold", to="b", reason=f"turn {turn}", for_="")
        assert f"turn {turn}" in (await kim.get("/routes/support")).text
    await asyncio.gather(*looking)


async def test_long_lists_come_in_pages(served: Running) -> None:
    tokens = []
    for n in range(60):
        made = await served.api("POST", "/tokens", {"name": f"token {n}", "role": "viewer"})
        tokens.append(made.body["token"]["id"])
    ada = await visitor(served)
    first = await ada.get("/admin/tokens")
    [more] = re.findall(r'href="(\?cursor=\d+)"', first.text)
    second = await ada.get(f"/admin/tokens{more}")
    shown = [re.findall(r"tok_[0-9a-f]{16}", answer.text) for answer in (first, second)]
    assert set(shown[0]) | set(shown[1]) == set(tokens)
    assert not set(shown[0]) & set(shown[1])
    assert "Next page" not in second.text
    listed = (await served.api("GET", "/tokens?limit=7&cursor=56")).body
    assert (len(listed["tokens"]), listed["next"]) == (4, None)


async def test_it_is_said_how_long_a_test_will_take(served: Running) -> None:
    kim = await visitor(served, "editor")
    quiet = await kim.get("/routes/support")
    assert "the route has had no calls yet to tell how many days that takes" in words(quiet)
    for _ in range(14):
        await served.ring()
    asked = {"effect": 0.05, "split": {"a": 50, "b": 50}, "route": "support"}
    plan = (await served.api("POST", "/experiments/plan", asked)).body["plan"]
    calls, days = (f"{plan[name]:,}".replace(",", " ") for name in ("n_planned", "days"))
    told = f"It needs about {calls} calls , judged by success: {days} days at this route's 0.5 calls a day"
    assert told in words(await kim.get("/routes/support"))
    # What the form asks for is planned before it is published; a large effect needs few calls.
    large = {"planned": "yes", "plan__metric": "success", "plan__effect": "0.3"}
    reviewed = await kim.post("/routes/support/split", **SPLIT | large, step="review")
    asked |= {"effect": 0.3, "split": {"a": 80, "b": 20}}
    fewer = (await served.api("POST", "/experiments/plan", asked)).body["plan"]
    assert f"It needs about {fewer['n_planned']} calls" in words(reviewed)
    assert fewer["n_planned"] < plan["n_planned"]
    mean = {"planned": "yes", "plan__metric": "duration_seconds", "plan__effect": "5"}
    told = words(await kim.post("/routes/support/split", **SPLIT | mean, step="review"))
    assert "How long it will take cannot be said" in told
    assert "a mean needs its sd" in told


@pytest.mark.parametrize("role", ["viewer", "admin"])
async def test_every_number_of_a_page_has_an_address_in_the_api(served: Running, role: str) -> None:
    await rung(served)
    kim = await visitor(served, role)
    token = (await served.api("POST", "/tokens", {"name": "kim", "role": role})).body["token"]["secret"]
    pages = [
        *PAGES,
        "/experiments",
        "/experiments/support-1",
        "/campaigns",
        *(ADMIN_PAGES if role == "admin" else ()),
    ]
    for path in pages:
        found = re.search(r'<details class="sources".*?</details>', (await kim.get(path)).text, re.DOTALL)
        assert found is not None, path
        addresses = [html.unescape(one) for one in re.findall(r"<code>GET (.*?)</code>", found[0])]
        assert addresses, path
        for address in addresses:
            headers = {"Authorization": f"Bearer {token}"}
            async with served.http.get(served.url + address, headers=headers) as answer:
                assert (answer.status, answer.content_type) == (200, "application/json"), (path, address)

"""Nothing is changed over the API without a row that says who did it: every endpoint that changes things is tried."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.http.api import ENDPOINTS
from tests.carrier.rest import Rest, asking, rest
from tests.conftest import ADMIN, Running

__all__ = ["asking", "rest"]  # fixtures

STREAM = {"target": {"kind": "stream", "url": "wss://agents.example.com/support/6"}}
REDRAFT = {"target": {"kind": "stream", "url": "wss://agents.example.com/support/six"}}
NIGHT = {"direction": "inbound", "numbers": ["+14155550177"], "versions": {"a": "support@3"}}
OUTBOUND = {"direction": "outbound", "numbers": ["+14155550190"], "versions": {"a": "support@3"}}
FILE = {"routes/late.toml": 'direction = "inbound"\nnumbers = ["+14155550178"]\n[versions]\na = "support@3"\n'}

Made = dict[str, Any]
LIST = {"name": "spring", "route": "reminders", "contacts": [{"to": "+12125550143", "timezone": "America/New_York"}]}


def campaign(verb: str) -> Callable[[Made], str]:
    return lambda made: f"/campaigns/{made['campaign']['id']}/{verb}"


# Every change in an order in which each is possible, with what the audit log calls it. A callable makes the path of
# what an earlier answer told.
CHANGES: list[tuple[str, str, str | Callable[[Made], str], Any, dict[str, str], str]] = [
    ("POST", "/agents/{agent}/versions", "/agents/support/versions", STREAM, {}, "publish"),
    ("PUT", "/agents/{agent}/versions/{number}", "/agents/support/versions/6", REDRAFT, {}, "publish"),
    (
        "POST",
        "/agents/{agent}/versions/{number}/publish",
        "/agents/support/versions/6/publish",
        {},
        {},
        "publish",
    ),
    ("POST", "/agents/{agent}/versions/{number}/retire", "/agents/support/versions/6/retire", {}, {}, "publish"),
    ("PUT", "/routes/{route}", "/routes/night", NIGHT, {"If_None_Match": "*"}, "publish"),
    ("PUT", "/routes/{route}", "/routes/reminders", OUTBOUND, {"If_None_Match": "*"}, "publish"),
    ("POST", "/routes/publish", "/routes/publish", {"files": FILE, "message": "late"}, {}, "publish"),
    ("POST", "/routes/{route}/rollback", "/routes/late/rollback", {"to": 1}, {}, ""),
    ("POST", "/routes/export", "/routes/export", {}, {}, "export"),
    ("POST", "/routes/{route}/hold", "/routes/support/hold", {"to": "a", "reason": "calm"}, {}, "hold"),
    ("DELETE", "/routes/{route}/hold", "/routes/support/hold", None, {}, "end hold"),
    ("POST", "/experiments/{experiment}/pause", "/experiments/support-1/pause", {}, {}, "paused experiment"),
    ("POST", "/experiments/{experiment}/resume", "/experiments/support-1/resume", {}, {}, "resumed experiment"),
    ("POST", "/experiments/{experiment}/stop", "/experiments/support-1/stop", {"winner": "b"}, {}, "publish"),
    ("POST", "/experiments/{experiment}/start", "/experiments/support-2/start", {}, {}, "publish"),
    (
        "POST",
        "/experiments/{experiment}/apply",
        "/experiments/support-2/apply",
        {"winner": "b"},
        {},
        "applied experiment + publish",
    ),
    ("POST", "/numbers/connect", "/numbers/connect", {"number": "+14155550100"}, {}, "connect"),
    ("POST", "/calls", "/calls", {"route": "reminders", "to": "+12125550142"}, {}, "place call"),
    (
        "POST",
        "/calls/{call}/label",
        lambda made: f"/calls/{made['call']['id']}/label",
        {"criterion": "success", "value": True},
        {},
        "label",
    ),
    ("POST", "/suppressions", "/suppressions", {"number": "+12125550142"}, {}, "suppress"),
    (
        "POST",
        "/suppressions/import",
        "/suppressions/import",
        b"number\n+12125550142\n+12125550143\n",
        {"Content_Type": "text/csv"},
        "import suppressions",
    ),
    ("DELETE", "/suppressions/{number}", "/suppressions/+12125550142", None, {}, "release"),
    ("POST", "/dialing/stop", "/dialing/stop", {"reason": "wrong script"}, {}, "stop dialling"),
    ("POST", "/dialing/start", "/dialing/start", {}, {}, "start dialling"),
    ("POST", "/campaigns", "/campaigns", LIST, {}, "create campaign"),
    ("POST", "/campaigns/{campaign}/start", campaign("start"), {}, {}, "start campaign"),
    ("POST", "/campaigns/{campaign}/pause", campaign("pause"), {}, {}, "pause campaign"),
    ("POST", "/campaigns/{campaign}/resume", campaign("resume"), {}, {}, "resume campaign"),
    ("POST", "/campaigns/{campaign}/cancel", campaign("cancel"), {"reason": "enough"}, {}, "cancel campaign"),
    ("POST", "/notifications/test", "/notifications/test", {}, {}, "test notifications"),
    ("POST", "/erase", "/erase", {"number": "+12125550143"}, {}, "erase"),
    ("POST", "/tokens", "/tokens", {"name": "kim", "role": "viewer"}, {}, "make token"),
    ("DELETE", "/tokens/{token}", lambda made: f"/tokens/{made['token']['id']}", None, {}, "revoke token"),
]
READ_ONLY = {
    ("POST", "/routes/check"),
    ("POST", "/routes/plan"),
    ("POST", "/campaigns/{campaign}/preview"),
    ("POST", "/experiments/plan"),
    ("POST", "/agents/{agent}/versions/{number}/test"),
}
# Only after the last outcome can have come: tests/test_experiments.py does it.
LATER = {("DELETE", "/experiments/{experiment}")}
# Only for an embedded database: tests/test_datacare.py does it.
EMBEDDED = {("POST", "/backup")}
ON_THE_TIMELINE = {("POST", "/calls/{call}/outcome")}


def test_every_endpoint_that_changes_something_is_tried() -> None:
    tried = {(method, path) for method, path, *_ in CHANGES}
    assert {
        (one.method, one.path) for one in ENDPOINTS if one.mutates
    } == tried | READ_ONLY | LATER | EMBEDDED | ON_THE_TIMELINE


async def entries(served: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await served.api("GET", "/audit?limit=1000")).body["audit"]
    return found


async def test_every_change_has_its_row(asking: tuple[Rest, Running]) -> None:
    _, served = asking
    last: Made = {}
    for method, _, where, body, headers, action in CHANGES:
        before = await entries(served)
        path = where if isinstance(where, str) else where(last)
        answer = await served.api(method, path, body, **headers)
        assert answer.status in (200, 201), f"{method} {path}: {answer.body}"
        last = answer.body
        fresh = (await entries(served))[: -len(before) or None]
        # A rollback to what is live changes nothing, and so leaves nothing.
        assert [row["action"] for row in fresh] == (action.split(" + ") if action else []), f"{method} {path}"
        assert {row["author"] for row in fresh} <= {"admin"}
        assert ADMIN not in str(fresh)


async def test_what_only_looks_leaves_no_row(served: Running) -> None:
    before = await entries(served)
    for path in ("/routes/check", "/routes/plan"):
        assert (await served.api("POST", path, {"files": FILE})).status == 200
    assert await entries(served) == before


async def test_a_change_that_is_refused_leaves_no_row(served: Running) -> None:
    before = await entries(served)
    assert (await served.api("DELETE", "/routes/support/hold")).status == 404
    assert (await served.api("POST", "/routes/publish", {"files": {"routes/x.toml": "?"}})).status == 422
    assert await entries(served) == before


@pytest.mark.parametrize("body", [{"success": True, "fields": {"card": "4111"}, "transcript": []}])
async def test_a_report_stands_on_the_timeline_with_its_author(served: Running, body: dict[str, Any]) -> None:
    call = "CA" + "5" * 32
    await served.ring(CallSid=call)
    made = await served.api("POST", "/tokens", {"name": "the agent", "role": "agent"})
    secret = made.body["token"]["secret"]
    said = [{"role": "caller", "text": "my card is 4111"}]
    await served.api("POST", f"/calls/{call}/outcome", body | {"transcript": said}, token=secret)
    await served.api("POST", f"/calls/{call}/outcome", {"success": False})
    events = (await served.api("GET", f"/calls/{call}")).body["call"]["events"]
    reports = [event for event in events if event["kind"] == "outcome"]
    assert [(one["author"], one["told"]) for one in reports] == [
        ("the agent", {"success": True}),
        ("admin", {"success": False}),
    ]
    assert (reports[0]["fields"], reports[0]["lines"]) == (["card"], 1)
    assert "4111" not in str(events)

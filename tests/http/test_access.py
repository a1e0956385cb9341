"""Who may do what: every endpoint for every role, and what the API answers to mistakes."""

from typing import Any

import pytest

from gateway.http.api import ENDPOINTS
from gateway.http.api.endpoint import Endpoint
from tests.conftest import Running

RANKS = {"viewer": 1, "editor": 2, "admin": 3, "agent": 0}


async def token(served: Running, role: str) -> str:
    made = await served.api("POST", "/tokens", {"name": f"the {role}", "role": role})
    secret: str = made.body["token"]["secret"]
    return secret


def may(role: str, one: Endpoint) -> bool:
    if one.role == "outcome":
        return role in ("agent", "editor", "admin")
    return RANKS[role] >= RANKS[one.role]


@pytest.mark.parametrize("role", ["viewer", "editor", "admin", "agent"])
async def test_every_endpoint_lets_in_whom_it_should(served: Running, role: str) -> None:
    secret = await token(served, role)
    for one in ENDPOINTS:
        path = one.path.format(
            agent="nobody", route="nowhere", number="9", call="CA0", experiment="x", token="x", campaign="x"
        )
        answer = await served.api(one.method, path, {} if one.mutates else None, token=secret)
        assert (answer.status != 403) is may(role, one), f"{one.method} {path} for {role}: {answer.status}"
        # Nobody plays Twilio's REST API here, so what asks it is unavailable.
        assert answer.status < 500 or (answer.status == 503 and path.startswith("/numbers"))


@pytest.mark.parametrize("wrong", [None, "gw_wrong", ""])
async def test_without_a_good_token_nothing_is_open(served: Running, wrong: str | None) -> None:
    for one in ENDPOINTS:
        path = one.path.format(
            agent="a", route="support", number="3", call="CA0", experiment="support-1", token="x", campaign="x"
        )
        answer = await served.api(one.method, path, {} if one.mutates else None, token=wrong)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_revoked_token_is_refused_at_once(served: Running) -> None:
    made = (await served.api("POST", "/tokens", {"name": "kim", "role": "viewer"})).body["token"]
    assert (await served.api("GET", "/routes", token=made["secret"])).status == 200
    assert (await served.api("DELETE", f"/tokens/{made['id']}")).status == 200
    assert (await served.api("GET", "/routes", token=made["secret"])).status == 401
    listed = str((await served.api("GET", "/tokens")).body)
    assert made["secret"] not in listed


async def test_mistakes_are_told_in_one_shape(served: Running) -> None:
    cases: list[tuple[str, str, Any, int, str]] = [
        ("GET", "/routes/nowhere", None, 404, "not_found"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("PUT", "/routes/support", {}, 428, "base_required"),
        ("POST", "/tokens", {"name": "x", "role": "king"}, 422, "invalid"),
        ("POST", "/tokens", {"surprise": 1}, 422, "invalid"),
        ("POST", "/calls/CA0/outcome", {"success": "yes"}, 422, "invalid"),
        ("POST", "/calls/CA0/outcome", {"success": True}, 404, "not_found"),
        ("GET", "/calls?limit=0", None, 422, "invalid"),
    ]
    for method, path, body, status, code in cases:
        answer = await served.api(method, path, body)
        assert (answer.status, answer.body["ok"], answer.body["error"]["code"]) == (status, False, code)
    async with served.http.post(
        f"{served.url}/api/v1/routes/check", data=b"{not json", headers={"Authorization": "Bearer gw_the_admin"}
    ) as broken:
        assert broken.status == 400


@pytest.mark.parametrize("text", ["a\\u0000b", "a\\ud800b"])
async def test_text_that_no_database_can_store_is_refused(served: Running, text: str) -> None:
    call = "CA" + "9" * 32
    await served.ring(CallSid=call)
    async with served.http.post(
        f"{served.url}/api/v1/calls/{call}/outcome",
        data=f'{{"fields": {{"note": "{text}"}}}}',
        headers={"Authorization": "Bearer gw_the_admin"},
    ) as answer:
        assert answer.status == 400
    good = await served.api("POST", f"/calls/{call}/outcome", {"fields": {"note": "Zo\u00eb \U0001f600"}})
    assert good.body["outcome"]["fields"]["note"] == "Zo\u00eb \U0001f600"


async def test_a_route_is_changed_on_the_base_that_was_seen(served: Running) -> None:
    seen = await served.api("GET", "/routes/support")
    body = seen.body["route"]["body"] | {"ab_test": {"enabled": False}}
    assert (await served.api("PUT", "/routes/support", body, If_Match='"9"')).status == 412
    changed = await served.api("PUT", "/routes/support", body, If_Match=seen.headers["ETag"])
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (
        await served.api("PUT", "/routes/support", body | {"numbers": ["+14155550102"]}, If_Match='"1"')
    ).status == 412
    new = {"direction": "inbound", "numbers": ["+14155550177"], "versions": {"a": "support@3"}}
    assert (await served.api("PUT", "/routes/night", new, If_None_Match="*")).status == 201
    assert (
        await served.api("PUT", "/routes/night", new | {"numbers": ["+14155550178"]}, If_None_Match="*")
    ).status == 412
    draft = new | {"versions": {"a": "support@5"}, "numbers": ["+14155550179"]}
    refused = await served.api("PUT", "/routes/late", draft, If_None_Match="*")
    assert refused.status == 422
    assert "support@5, which is a draft" in refused.body["error"]["problems"][0]["text"]


async def test_files_are_published_together_or_not_at_all(served: Running) -> None:
    good = {"routes/night.toml": 'direction = "inbound"\nnumbers = ["+14155550177"]\n[versions]\na = "support@3"\n'}
    bad = {"routes/late.toml": 'direction = "inbound"\nnumbers = [14155550178]\n[versions]\nb = "support@9"\n'}
    refused = await served.api("POST", "/routes/publish", {"files": good | bad, "message": "both"})
    assert refused.status == 422
    assert any("quote the number" in problem["text"] for problem in refused.body["error"]["problems"])
    assert (await served.api("GET", "/routes/night")).status == 404
    plan = (await served.api("POST", "/routes/plan", {"files": good})).body
    assert [(change["place"], change["action"]) for change in plan["changes"]] == [("routes/night.toml", "create")]
    done = await served.api("POST", "/routes/publish", {"files": good, "message": "one", "bases": plan["bases"]})
    assert done.status == 200
    late = await served.api(
        "POST", "/routes/publish", {"files": {"routes/night.toml": good["routes/night.toml"] + "#\n"}}
    )
    assert late.body["changes"] == []


async def test_the_folder_does_not_overwrite_what_it_never_held(served: Running) -> None:
    seen = (await served.api("GET", "/routes/support")).body["route"]
    body = seen["body"] | {"numbers": ["+14155550100", "+14155550150"]}
    await served.api("PUT", "/routes/support", body, If_Match='"1"', X_Message="a second number")
    from tests.conftest import ROUTES

    files = {"routes/support.toml": ROUTES["routes/support.toml"]}
    refused = await served.api("POST", "/routes/publish", {"files": files})
    assert refused.status == 409
    assert "admin: a second number" in refused.body["error"]["problems"][0]["text"]
    assert (await served.api("POST", "/routes/publish", {"files": files, "overwrite": list(files)})).status == 200
    back = await served.api("POST", "/routes/support/rollback", {"to": 2})
    assert back.status == 200
    exported = (await served.api("POST", "/routes/export", {"files": files})).body["files"]
    assert "+14155550150" in exported["routes/support.toml"]
    again = await served.api("POST", "/routes/publish", {"files": exported})
    assert again.body["changes"] == []
    assert (await served.api("POST", "/routes/publish", {"files": files})).status == 200


async def test_switching_a_test_off_and_on_makes_experiments_and_epochs(served: Running) -> None:
    async def change(base: int, **test: Any) -> int:
        seen = (await served.api("GET", "/routes/support")).body["route"]["body"]
        body = seen | {"ab_test": seen["ab_test"] | test}
        return (await served.api("PUT", "/routes/support", body, If_Match=f'"{base}"')).status

    assert await change(1, split={"a": 80, "b": 20}) == 200
    shown = (await served.api("GET", "/experiments/support-1")).body["experiment"]
    assert [epoch["number"] for epoch in shown["epochs"]] == [1, 2]
    assert await change(2, unit="caller") == 409
    assert await change(2, name="another") == 409
    assert await change(2, enabled=False, winner="b") == 200
    closed = (await served.api("GET", "/experiments/support-1")).body["experiment"]
    assert (closed["status"], closed["winner"]) == ("maturing", "b")
    assert await change(3, enabled=True, unit="caller") == 200
    listed = (await served.api("GET", "/experiments")).body["experiments"]
    assert {"support-1", "support-2"} <= {one["id"] for one in listed}


async def test_a_published_version_never_changes(served: Running) -> None:
    target = {"kind": "stream", "url": "wss://agents.example.com/support/6"}
    added = await served.api("POST", "/agents/support/versions", {"target": target})
    assert (added.status, added.body["version"]["version"], added.body["version"]["status"]) == (
        201,
        "support@6",
        "draft",
    )
    assert (await served.api("POST", "/agents/support/versions/6/publish", {})).status == 200
    from tests.conftest import AGENTS

    altered = AGENTS["agents/support.toml"].replace("support/3", "support/33")
    refused = await served.api(
        "POST", "/routes/publish", {"files": {"agents/support.toml": altered}, "overwrite": ["agents/support.toml"]}
    )
    assert refused.status == 422
    texts = " ".join(problem["text"] for problem in refused.body["error"]["problems"])
    assert "support@3 is published and cannot change; add version 7" in texts
    in_use = await served.api("POST", "/agents/support/versions/3/retire", {})
    assert in_use.status == 422


async def test_an_editor_may_be_kept_from_tests(tmp_path: Any, database_url: str) -> None:
    from tests.conftest import running, settings_for, write_files

    write_files(tmp_path)
    settings = settings_for(tmp_path, database_url, GATEWAY_AUTH__EXPERIMENTS_ROLE="admin")
    async with running(settings) as served:
        editor = await token(served, "editor")
        seen = (await served.api("GET", "/routes/support")).body["route"]["body"]
        off = seen | {"ab_test": seen["ab_test"] | {"enabled": False}}
        assert (await served.api("PUT", "/routes/support", off, token=editor, If_Match='"1"')).status == 403
        more = seen | {"numbers": ["+14155550100", "+14155550150"]}
        assert (await served.api("PUT", "/routes/support", more, token=editor, If_Match='"1"')).status == 200


async def test_a_target_whose_secret_is_not_set_is_not_published(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sip = '{ kind = "sip", uri = "sip:a@b.example.com", username = "u", password = "env:SIP_TEST_PASSWORD" }'
    files = {"agents/phone.toml": f'[versions.1]\nstatus = "published"\ntarget = {sip}\n'}
    refused = await served.api("POST", "/routes/publish", {"files": files})
    assert refused.status == 422
    (problem,) = refused.body["error"]["problems"]
    assert (problem["place"], problem["path"]) == ("agents/phone.toml", "versions.1.target.password")
    assert "SIP_TEST_PASSWORD is not set" in problem["text"]
    monkeypatch.setenv("SIP_TEST_PASSWORD", "hunter2")
    assert (await served.api("POST", "/routes/publish", {"files": files})).status == 200
    assert "hunter2" not in str((await served.api("GET", "/agents/phone")).body)


async def test_a_repeated_request_is_done_once(served: Running) -> None:
    body = {"name": "kim", "role": "viewer"}
    first = await served.api("POST", "/tokens", body, Idempotency_Key="k1")
    again = await served.api("POST", "/tokens", body, Idempotency_Key="k1")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await served.api("POST", "/tokens", {"name": "bo", "role": "viewer"}, Idempotency_Key="k1")).status == 409
    assert len((await served.api("GET", "/tokens")).body["tokens"]) == 1


async def test_lists_come_in_pages(served: Running) -> None:
    for number in range(7):
        await served.ring(CallSid=f"CA{number:032x}")
    seen, cursor = [], ""
    while True:
        page = (await served.api("GET", f"/calls?limit=3{cursor}")).body
        seen += [call["id"] for call in page["calls"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"CA{number:032x}" for number in reversed(range(7))]
    found = (await served.api("GET", "/calls?number=%2B14155551234&arm=a")).body["calls"]
    assert all(call["assignment"]["arm"] == "a" for call in found)


async def test_outcomes_before_and_after_the_end_partial_and_erased(served: Running) -> None:
    call = "CA" + "7" * 32
    await served.ring(CallSid=call)
    await served.api("POST", f"/calls/{call}/outcome", {"success": True, "fields": {"csat": 5, "intent": "billing"}})
    await served.ring("/twilio/status", CallSid=call, CallStatus="completed", CallDuration="42")
    await served.api("POST", f"/calls/{call}/outcome", {"success": None, "fields": {"csat": 4}, "final": True})
    shown = (await served.api("GET", f"/calls/{call}")).body["call"]
    assert shown["outcome"] == {"fields": {"csat": 4, "intent": "billing"}, "final": True, "counted": True}
    results = (await served.api("GET", "/experiments/support-1/results")).body
    metrics = {one["name"]: one["arms"] for one in results["metrics"]}
    arm = shown["assignment"]["arm"]
    assert metrics["fields.csat"][arm].items() >= {"n": 1, "mean": 4.0}.items()
    assert "success" not in metrics


async def test_the_description_names_every_endpoint(served: Running) -> None:
    async with served.http.get(served.url + "/openapi.json") as answer:
        told = await answer.json()
    named = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert named == {(one.method, "/api/v1" + one.path) for one in ENDPOINTS}

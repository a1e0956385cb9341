"""Signing in and out: cookies, renewal, expiry, lock-out, forged forms, and the headers of every page."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.http.auth import Doorkeeper, digest_of
from gateway.http.console import PAGES
from gateway.http.console.page import HEADERS, origin_of
from gateway.http.console.sessions import FAILURES, IDLE, LASTS, LOCKED, RENEWED_AFTER, LockedOut, Lockout, Sessions
from gateway.storage.schema import session
from tests.conftest import ADMIN, Running, running, settings_for, write_files
from tests.http.console.visitor import stranger, visitor, words

MINUTE = 60_000


def later(served: Running, milliseconds: int) -> None:
    """Let time pass for the gateway."""
    before = served.gateway.wall
    served.gateway.wall = lambda: before() + milliseconds


async def test_a_token_becomes_a_cookie_that_scripts_cannot_read(served: Running) -> None:
    kim = stranger(served)
    answer = await kim.post("/sign-in", token=ADMIN, next="/routes/support?x=1")
    assert (answer.status, answer.headers["Location"]) == (303, "/routes/support?x=1")
    attributes = {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert attributes == {"httponly", "path=/", "samesite=lax"}
    assert (await kim.get("/")).status == 200


async def test_over_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    write_files(tmp_path)
    public = "https://calls.example.com"
    settings = settings_for(tmp_path, f"sqlite:///{tmp_path}/g.db", GATEWAY_SERVER__PUBLIC_URL=public)
    async with running(settings) as served:
        served.url = f"http://127.0.0.1:{settings.server.port}"
        kim = stranger(served)
        kim.origin = public
        told = (await kim.post("/sign-in", token=ADMIN)).headers["Set-Cookie"]
        assert told.startswith("__Host-session=")
        assert {part.strip().lower() for part in told.split(";")[1:]} == {
            "httponly",
            "path=/",
            "samesite=lax",
            "secure",
        }
        kim.origin = served.url
        assert (await kim.post("/sign-in", token=ADMIN)).status == 403


async def test_only_the_digest_of_a_session_is_stored(served: Running) -> None:
    kim = await visitor(served)
    secret = kim.cookies["session"]
    async with served.gateway.database.read() as connection:
        rows = (await connection.execute(sa.select(session))).all()
    assert [row.digest for row in rows] == [digest_of(secret)]
    assert secret not in str(rows)


@pytest.mark.parametrize("path", ["/", "/routes", "/calls/CA0", "/admin/tokens", "/routes/support"])
async def test_without_a_session_every_page_leads_to_the_door(served: Running, path: str) -> None:
    answer = await stranger(served).get(path)
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("token", ["", "gw_wrong", "x" * 5000, "\u00e9"])
async def test_a_wrong_token_opens_nothing(served: Running, token: str) -> None:
    answer = await stranger(served).post("/sign-in", token=token)
    assert answer.status == 401
    assert "not known" in words(answer)
    assert "Set-Cookie" not in answer.headers


async def test_an_agents_token_opens_no_page(served: Running) -> None:
    made = await served.api("POST", "/tokens", {"name": "bot", "role": "agent"})
    answer = await stranger(served).post("/sign-in", token=made.body["token"]["secret"])
    assert answer.status == 403


async def test_failures_lock_an_address_out_and_time_lets_it_in_again(served: Running) -> None:
    mallory = stranger(served)
    for guess in range(FAILURES):
        assert (await mallory.post("/sign-in", token=f"{ADMIN}{guess}")).status == 401
    locked = await mallory.post("/sign-in", token=ADMIN)
    assert (locked.status, locked.headers["Retry-After"]) == (429, "900")
    later(served, LOCKED + 1)
    assert (await mallory.post("/sign-in", token=ADMIN)).status == 303


def test_a_success_forgets_the_failures_before_it() -> None:
    lockout = Lockout(lambda: 0)
    for _ in range(FAILURES - 1):
        lockout.failed("1.2.3.4", "gw_aaaaa1")
    lockout.check("1.2.3.4", "gw_aaaaa2")
    lockout.passed("1.2.3.4", "gw_aaaaa2")
    for _ in range(FAILURES):
        lockout.failed("1.2.3.4", "gw_aaaaa1")
    lockout.check("5.6.7.8", "gw_aaaaa2")
    with pytest.raises(LockedOut):
        lockout.check("1.2.3.4", "gw_aaaaa2")


async def test_who_guesses_behind_a_proxy_locks_out_nobody_else(served: Running) -> None:
    made = (await served.api("POST", "/tokens", {"name": "kim", "role": "editor"})).body["token"]
    mallory = stranger(served)
    for _ in range(FAILURES):
        await mallory.post("/sign-in", token="gw_guess-guess")
    assert (await mallory.post("/sign-in", token="gw_guess-again")).status == 429
    # From the same address, as everybody's is behind a proxy.
    assert (await stranger(served).post("/sign-in", token=made["secret"])).status == 303


async def test_a_session_is_renewed_while_it_is_used(served: Running) -> None:
    kim = await visitor(served)
    first = dict(kim.cookies)
    later(served, RENEWED_AFTER + 1)
    assert (await kim.get("/")).status == 200
    assert kim.cookies["session"] != first["session"]
    fresh = dict(kim.cookies)
    kim.cookies = first
    # Pages asked for at the same time still come; a minute later the old secret is worth nothing.
    assert (await kim.get("/")).status == 200
    later(served, MINUTE + 1)
    kim.cookies = dict(first)
    assert (await kim.get("/")).status == 303
    kim.cookies = fresh
    assert (await kim.get("/")).status == 200


async def test_a_form_stays_good_when_the_session_is_renewed(served: Running) -> None:
    kim = await visitor(served)
    form = kim.csrf
    later(served, RENEWED_AFTER + 1)
    await kim.get("/")
    answer = await kim.post("/suppressions", csrf=form, number="+12125550142")
    assert answer.status == 303


async def test_an_idle_session_ends_and_so_does_a_long_one(served: Running) -> None:
    idle, busy = await visitor(served), await visitor(served)
    began = served.gateway.wall()
    for _ in range(LASTS // (IDLE // 2) - 1):
        later(served, IDLE // 2)
        assert (await busy.get("/")).status == 200
    assert (await idle.get("/")).status == 303
    later(served, IDLE // 2 + 1)
    assert served.gateway.wall() - began > LASTS
    assert (await busy.get("/")).status == 303


async def test_signing_out_ends_one_session_or_all_of_a_token(served: Running) -> None:
    one, two, three = await visitor(served), await visitor(served), await visitor(served)
    kept = dict(one.cookies)
    assert (await one.post("/sign-out")).headers["Location"] == "/sign-in"
    one.cookies = kept
    assert (await one.get("/")).status == 303
    assert (await two.get("/")).status == 200
    await two.post("/sign-out-everywhere")
    assert (await three.get("/")).status == 303


async def test_a_revoked_token_takes_its_sessions_with_it(served: Running) -> None:
    made = (await served.api("POST", "/tokens", {"name": "kim", "role": "editor"})).body["token"]
    kim = await stranger(served).sign_in(made["secret"])
    assert (await kim.get("/")).status == 200
    await served.api("DELETE", f"/tokens/{made['id']}")
    assert (await kim.get("/")).status == 303


async def test_a_link_signs_in_once(served: Running) -> None:
    sessions = Sessions(served.gateway, Doorkeeper(served.gateway))
    code = sessions.invite(ADMIN)
    await sessions.accept(code, "1.2.3.4")
    with pytest.raises(Exception, match="used before"):
        await sessions.accept(code, "1.2.3.4")
    late = sessions.invite(ADMIN)
    later(served, 10 * MINUTE + 1)
    with pytest.raises(Exception, match="too old"):
        await sessions.accept(late, "1.2.3.4")
    assert (await stranger(served).get("/sign-in/nothing")).status == 401


@pytest.mark.parametrize(
    "where",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y", "\\\\evil"],
)
async def test_signing_in_leads_nowhere_else(served: Running, where: str) -> None:
    answer = await stranger(served).post("/sign-in", token=ADMIN, next=where)
    assert answer.headers["Location"] == "/"


@pytest.mark.parametrize("origin", ["", "null", "https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1"])
async def test_a_form_from_elsewhere_is_refused(served: Running, origin: str) -> None:
    kim = await visitor(served)
    kim.origin = origin
    assert (await kim.post("/dialing/stop", reason="no")).status == 403
    assert (await kim.post("/sign-in", token=ADMIN)).status == 403
    assert (await served.api("GET", "/dialing")).body["dialing"]["stopped"] is None


@pytest.mark.parametrize("csrf", ["", "0" * 64, "\u00e9"])
async def test_a_form_without_its_mark_is_refused(served: Running, csrf: str) -> None:
    kim, other = await visitor(served), await visitor(served)
    assert (await kim.post("/dialing/stop", csrf=csrf, reason="no")).status == 403
    assert (await kim.post("/dialing/stop", csrf=other.csrf, reason="no")).status == 403
    assert (await served.api("GET", "/dialing")).body["dialing"]["stopped"] is None
    # The control: with its own mark it goes through.
    assert (await kim.post("/dialing/stop", reason="yes")).status == 303


async def test_a_token_is_no_cookie_and_a_cookie_no_token(served: Running) -> None:
    kim = stranger(served)
    kim.cookies = {"session": ADMIN}
    assert (await kim.get("/")).status == 303
    signed_in = await visitor(served)
    assert (await served.api("GET", "/routes", token=signed_in.cookies["session"])).status == 401


async def test_every_answer_carries_the_headers(served: Running) -> None:
    kim = await visitor(served, "viewer")
    answers = [
        await kim.get("/"),
        await kim.get("/routes/none"),
        await kim.get("/admin/tokens"),
        await kim.post("/dialing/stop", reason="x"),
        await stranger(served).get("/sign-in"),
        await stranger(served).get("/routes"),
        await stranger(served).post("/sign-in", token="wrong"),
    ]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS), answer.status
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    sheet = await kim.get("/static/base.css")
    assert sheet.headers["X-Content-Type-Options"] == "nosniff"
    assert (await kim.get("/static/../page.py")).status == 404


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_every_form_is_refused_to_whom_it_is_not_for(served: Running, role: str) -> None:
    rank = {"viewer": 1, "editor": 2, "admin": 3}
    kim = await visitor(served, role)
    for one in PAGES:
        if one.path in ("/sign-out", "/sign-out-everywhere", "/live"):
            continue
        names = {"route": "support", "agent": "support", "number": "77", "call": "CA0", "token": "none"}
        path = one.path.format(**names, campaign="cmp_0", experiment="support-1")
        answer = await (kim.get(path) if one.method == "GET" else kim.post(path))
        assert (answer.status == 403) is (rank[role] < rank[one.role]), f"{one.method} {path}: {answer.status}"
        assert answer.status < 500, f"{one.method} {path}"


async def test_signing_in_and_out_is_audited_without_secrets(served: Running) -> None:
    kim = await visitor(served)
    await kim.post("/sign-out")
    rows = (await served.api("GET", "/audit")).body["audit"]
    assert [row["action"] for row in rows if row["subject"] == "console"] == ["sign out", "sign in"]
    assert ADMIN not in str(rows)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://calls.example.com", "https://calls.example.com"),
        ("https://calls.example.com:443/gateway", "https://calls.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_origin_of_an_address(url: str, origin: str) -> None:
    assert origin_of(url) == origin

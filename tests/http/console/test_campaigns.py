"""The pages of campaigns: a list kept from a file, its buttons, its contacts, and what each role is shown."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.conftest import FILES, Answer, Running, running, settings_for, write_files
from tests.http.console.visitor import Visitor, visitor, words
from tests.outbound import Outbound, outbound

__all__ = ["outbound"]

LIST = (
    "to,timezone,first_name\r\n"
    "+12125550142,,Ada\r\n"
    "+12125550143,America/Denver,Kim\r\n"
    "5550144,,Noor\r\n"
    "+12125550142,,Sam\r\n"
    "+442079460000,,Jo\r\n"
)
FORM = {"name": "spring", "route": "reminders"}
VERBS = ("preview", "start", "pause", "resume", "cancel")
SCRIPT = "<script>window.hit=1</script>"


async def kept(kim: Visitor, file: str = LIST, **fields: str) -> str:
    """The address of a campaign made through the form."""
    answer = await kim.upload("/new-campaign", file, **FORM | fields)
    assert answer.status == 303, words(answer)
    path = urlsplit(answer.headers["Location"]).path
    assert re.fullmatch(r"/campaigns/cmp_[0-9a-f]{16}", path)
    return path


def posts(answer: Answer) -> set[str]:
    found = re.findall(r'<form[^>]*method="post"[^>]*action="(/[a-z]*campaigns?[^"]*)"', answer.text)
    return {path.rpartition("/")[2] for path in found}


def field(answer: Answer, name: str) -> str:
    """A field of a form with what is told of it, up to the next one."""
    found = re.search(
        rf'<(input|textarea|select)[^>]*name="{re.escape(name)}"[^>]*>.*?</div>', answer.text, re.DOTALL
    )
    assert found, name
    return found[0]


async def test_nothing_yet_says_what_to_do_first(outbound: Outbound) -> None:
    kim, lee = await visitor(outbound.served, "editor"), await visitor(outbound.served, "viewer")
    assert "Make the first one" in words(await kim.get("/campaigns"))
    assert 'href="/campaigns" aria-current="page"' in (await kim.get("/campaigns")).text
    assert "An editor can make one" in words(await lee.get("/campaigns"))
    form = await kim.get("/new-campaign")
    # The only outbound route there is stands in its field already.
    assert 'value="reminders"' in field(form, "route")
    # The mark comes before the file, and the file last.
    inside = form.text[form.text.index("data-upload") :]
    names = re.findall(r'name="([^"]+)"', inside[: inside.index("</form>")])
    assert (names[0], names[-1]) == ("csrf", "file")


async def test_a_list_is_kept_and_its_bad_rows_are_told(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim, max_attempts="2", retry__busy="30m", from_="09:00", until="17:30", marketing="")
    shown = await kim.get(path)
    text = words(shown)
    assert "draft Preview" in text
    assert "row The row cannot be read, or repeats a number. 2 contacts" in text
    assert "number The number is of a country or a kind that may not be called. 1 contact" in text
    for line in ("Line 4", "Line 5", "Line 6"):
        assert line in text
    assert f"{path.rpartition('/')[2]}" in shown.text
    assert '?state=skipped&amp;result=row#contacts"' in shown.text
    told = (await outbound.served.api("GET", path)).body["campaign"]
    assert told["settings"] == {"max_attempts": 2, "retry": {"busy": "30m"}, "window": "09:00-17:30"}
    assert (told["contacts"], told["skipped"]) == (2, 3)
    assert told["skips"] == {"row": 2, "number": 1}
    listed = words(await kim.get("/campaigns"))
    assert "spring reminders draft 0 of 2 done 3" in listed
    assert "No such campaign" in words(await kim.get("/campaigns?status=running"))


async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    typed = {
        "name": "spring",
        "route": "support",
        "calls_per_second": "0",
        "retry__busy": "soon",
        "from_": "18:00",
        "machine": "leave_message",
        "days": "sat",
        "start_at": "2030-05-01T09:00",
        "zone": "Europe/Berlin",
        "max_attempts": "2",
    }
    answer = await kim.upload("/new-campaign", LIST, **typed)
    assert answer.status == 422
    for name, value in (("name", "spring"), ("route", "support"), ("max_attempts", "2"), ("zone", "Europe/Berlin")):
        assert f'value="{value}"' in field(answer, name)
    for name in ("calls_per_second", "retry.busy", "from", "message"):
        assert 'class="error"' in field(answer, name), name
    assert 'class="error"' not in field(answer, "max_attempts")
    assert 'value="sat" checked' in answer.text
    assert 'value="mon" checked' not in answer.text
    wrong_route = await kim.upload("/new-campaign", LIST, name="x", route="nowhere")
    assert "no route" in field(wrong_route, "route")
    no_name = await kim.upload("/new-campaign", LIST, name="", route="reminders")
    assert "Fill this in" in field(no_name, "name")
    for zone, at, name in (("Mars/Olympus", "2030-05-01T09:00", "zone"), ("UTC", "tomorrow", "start_at")):
        answer = await kim.upload("/new-campaign", LIST, **FORM, zone=zone, start_at=at)
        assert 'class="error"' in field(answer, name)
    assert (await outbound.served.api("GET", "/campaigns")).body["campaigns"] == []


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (None, "empty"),
        ("", "empty"),
        ("number,name\n+12125550142,Ada\n", "no column named to"),
        # A column may be named as a field of the form is.
        ("to,gateway_call\n+12125550142,x\n", "names beginning with gateway_"),
        ("to\n555\nnobody\n", "Line 3"),
        (b"PK\x03\x04" + bytes(2000), "CSV"),
        (b"\xff\xfe" + "to\n+12125550142\n".encode("utf-16-le"), "UTF-8"),
    ],
)
async def test_a_list_that_cannot_be_taken_is_told_with_its_lines(
    outbound: Outbound, file: str | bytes | None, told: str
) -> None:
    kim = await visitor(outbound.served, "editor")
    answer = await kim.upload("/new-campaign", file, **FORM)
    assert answer.status == 422
    assert told in words(answer)
    assert 'class="error"' in field(answer, "file")
    assert 'value="spring"' in field(answer, "name")
    assert (await outbound.served.api("GET", "/campaigns")).body["campaigns"] == []


async def test_a_long_list_streams_through(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    rows = "".join(f"+1212555{number:04},{'x' * 60}\n" for number in range(100, 2100))
    path = await kept(kim, "to,note\n" + rows)
    told = (await outbound.served.api("GET", path)).body["campaign"]
    assert (told["contacts"], told["skipped"]) == (2000, 0)


async def test_a_start_is_in_the_zone_that_was_typed(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim, start_at="2030-05-01T09:00", zone="Europe/Berlin")
    told = (await outbound.served.api("GET", path)).body["campaign"]
    assert told["settings"]["start_at"] == 1_903_849_200_000  # 07:00 UTC
    await kim.post(f"{path}/start")
    assert "Waits for its start 2030-05-01 07:00:00 UTC" in words(await kim.get(path))


async def test_no_file_is_read_of_a_form_that_is_not_ours(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    assert (await kim.upload("/new-campaign", LIST, csrf="0" * 64, **FORM)).status == 403
    assert (await kim.upload("/new-campaign", LIST, csrf="", **FORM)).status == 403
    kim.origin = "https://evil.example"
    assert (await kim.upload("/new-campaign", LIST, **FORM)).status == 403
    kim.origin = None
    assert (await kim.post("/new-campaign", **FORM)).status == 400
    # The answer comes although most of the file was never sent.
    url = urlsplit(outbound.served.url)
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    for opening in (
        part % (b"csrf", b"", b"0" * 64),
        part % (b"file", b'; filename="x.csv"', b"to"),
        part % (b"name", b"", b"spring") + part % (b"csrf", b"", kim.csrf.encode()),
    ):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = (
            f"POST /new-campaign HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: {outbound.served.url}\r\n"
            f"Cookie: session={kim.cookies['session']}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            "Content-Length: 100000000\r\n\r\n"
        )
        writer.write(head.encode() + opening + part % (b"file", b'; filename="x.csv"', b"+1" * 50_000))
        async with asyncio.timeout(5):
            assert b" 403 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert (await outbound.served.api("GET", "/campaigns")).body["campaigns"] == []


async def test_a_form_that_is_broken_or_too_long_is_refused(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    headers = {"Cookie": f"session={kim.cookies['session']}", "Origin": outbound.served.url}

    async def send(body: bytes, kind: str = "multipart/form-data; boundary=b", **more: str) -> int:
        url = outbound.served.url + "/new-campaign"
        sent = headers | {"Content-Type": kind} | more
        async with outbound.served.http.post(url, data=body, headers=sent) as answer:
            return answer.status

    mark = b'--b\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n' + kim.csrf.encode() + b"\r\n"
    assert await send(mark + b"--b--\r\n") == 422
    assert await send(mark, "multipart/form-data") == 400
    assert await send(mark[:-2] + b"\r\n--b\r\ngarbage") in (400, 422)
    assert await send(mark.replace(b'name="csrf"', b'name="csrf"; filename="c"')) == 403
    long = mark + b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"x" * 100_000 + b"\r\n--b--\r\n"
    assert await send(long) == 400
    nul = mark + b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n\x00\r\n--b--\r\n'
    assert await send(nul) == 400
    many = mark + b'--b\r\nContent-Disposition: form-data; name="days"\r\n\r\nmon\r\n' * 500 + b"--b--\r\n"
    assert await send(many) == 400
    assert (await outbound.served.api("GET", "/campaigns")).body["campaigns"] == []


async def test_a_campaign_is_steered_by_its_buttons(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim)
    name = path.rpartition("/")[2]

    async def now() -> str:
        told: str = (await outbound.served.api("GET", path)).body["campaign"]["status"]
        return told

    previewed = await kim.post(f"{path}/preview")
    text = words(previewed)
    assert previewed.status == 200
    assert "it would call 2 contacts" in text
    assert "+12125550142 2" in text
    assert "row The row cannot be read, or repeats a number. 2 contacts" in text
    assert await now() == "ready"
    assert (await kim.get(f"{path}/preview")).headers["Location"] == path
    assert posts(previewed) == {"start"}
    started = await kim.post(f"{path}/start")
    assert (started.status, started.headers["Location"]) == (303, f"{path}?said=campaign_started")
    assert posts(await kim.get(path)) == {"pause", "cancel"}
    assert "Pause spring?" in words(await kim.get(f"{path}/pause"))
    assert (await kim.post(f"{path}/pause", reason="wrong script")).status == 303
    assert await outbound.dialer.step() == 0
    assert "Paused: wrong script. Nobody is called until somebody resumes it." in words(await kim.get(path))
    assert (await kim.post(f"{path}/resume")).status == 303
    assert await outbound.dialer.step() == 2
    assert "Calling: 2 contacts on the phone now." in words(await kim.get(path))
    late = await kim.post(f"{path}/start")
    assert late.status == 409
    assert f"Campaign {name} is running" in words(late)
    assert (await kim.post(f"{path}/cancel", reason="enough")).status == 303
    over = await kim.get(path)
    assert "It was cancelled: enough. 2 contacts still on the phone." in words(over)
    assert posts(over) == set()
    assert (await kim.get(f"{path}/pause")).headers["Location"] == path
    audit = (await outbound.served.api("GET", "/audit")).body["audit"]
    done = {one["action"]: one["author"] for one in audit if one["subject"] == f"campaign {name}"}
    assert set(done) == {f"{verb} campaign" for verb in ("create", "start", "pause", "resume", "cancel")}
    assert set(done.values()) == {"the editor"}


async def test_what_it_does_now_is_said_with_its_reason(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim)
    await outbound.served.api("POST", "/routes/reminders/hold", {"to": "fallback", "reason": "calm"})
    assert 'Nobody can be called: route "reminders" is held to its fallback' in words(await kim.get(path))
    refused = await kim.post(f"{path}/start")
    assert refused.status == 409
    assert "held to its fallback" in words(refused)
    assert "Nobody can be called" in words(await kim.post(f"{path}/preview"))
    await outbound.served.api("DELETE", "/routes/reminders/hold")
    await kim.post(f"{path}/start")
    await outbound.served.api("POST", "/dialing/stop", {"reason": "calm"})
    assert "Waits: all dialling is stopped." in words(await kim.get(path))


async def test_who_is_called_again_is_counted_with_the_time(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim, retry__busy="30m")
    await kim.post(f"{path}/start")
    await outbound.dialer.step()
    call = outbound.twilio.created[0]["Url"].partition("?call=")[2].partition("#")[0]
    told = {"CallSid": outbound.twilio.sid(0), "CallStatus": "busy", "SequenceNumber": "3"}
    await outbound.served.ring(f"/twilio/status?call={call}", **told)
    one = (await outbound.served.api("GET", path)).body["campaign"]
    (again,) = one["retries"]
    assert (again["result"], again["contacts"], one["due_at"]) == ("busy", 1, again["at"])
    shown = await kim.get(path)
    assert "To be called again busy from" in words(shown)
    assert "1 being called, 1 to be called again" in shown.text
    assert f'href="/calls/{call}"' in shown.text
    only = await kim.get(f"{path}?result=busy")
    assert only.text.count('href="/calls/') == 1


async def test_contacts_are_filtered_and_paged(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim, "to\n555\n" + "".join(f"+1212555{number:04}\n" for number in range(100, 140)))
    first = await kim.get(path)
    assert first.text.count('<th scope="row" class="tel">') == 25
    following = re.search(r'href="(\?cursor=[^"#]*)#contacts">Next page', first.text)
    assert following
    assert (await kim.get(path + following[1])).text.count('<th scope="row" class="tel">') == 16
    skipped = await kim.get(f"{path}?state=skipped&result=row")
    assert skipped.text.count('<th scope="row" class="tel">') == 1
    assert "No such contact" in words(await kim.get(f"{path}?state=done"))
    assert (await kim.get(f"{path}?cursor=x")).status == 422
    assert (await kim.get("/campaigns/cmp_0")).status == 404


async def test_contacts_are_exported_as_they_may_be_seen(outbound: Outbound) -> None:
    kim, lee = await visitor(outbound.served, "editor"), await visitor(outbound.served, "viewer")
    path = await kept(kim)
    whole = await kim.get(f"{path}/contacts.csv")
    assert whole.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in whole.headers["Content-Disposition"]
    lines = whole.text.splitlines()
    assert lines[0] == "line,to,timezone,state,result,reason,arm,version,attempts,call"
    assert lines[1] == "2,+12125550142,,waiting,,,,,0,"
    assert len(lines) == 6
    assert len((await kim.get(f"{path}/contacts.csv?state=skipped")).text.splitlines()) == 4
    hidden = await lee.get(f"{path}/contacts.csv")
    assert "5550142" not in hidden.text
    assert "…42" in hidden.text
    assert (await kim.get("/campaigns/cmp_0/contacts.csv")).status == 404


async def test_a_viewer_reads_masked_numbers_and_changes_nothing(outbound: Outbound) -> None:
    kim, lee = await visitor(outbound.served, "editor"), await visitor(outbound.served, "viewer")
    path = await kept(kim, LIST + "+12125550149,,+12125550188\r\n")
    for address in ("/campaigns", path, f"{path}?state=skipped"):
        answer = await lee.get(address)
        assert answer.status == 200
        assert posts(answer) == set()
        assert "5550142" not in answer.text
    # A row's own words hold a number too, and so may a variable.
    assert "repeats line 2's number …42" in words(await lee.get(path))
    assert "repeats line 2's number +12125550142" in words(await kim.get(path))
    contacts = (await outbound.served.api("GET", f"{path}/contacts")).body["contacts"]
    assert contacts[-1]["variables"] == {"first_name": "+12125550188"}
    token = (await outbound.served.api("POST", "/tokens", {"name": "r", "role": "viewer"})).body["token"]["secret"]
    seen = (await outbound.served.api("GET", f"{path}/contacts", token=token)).body["contacts"]
    assert seen[-1]["variables"] == {"first_name": "…88"}
    for verb in VERBS:
        assert (await lee.post(f"{path}/{verb}", reason="forged")).status == 403
    for address in ("/new-campaign", f"{path}/pause", f"{path}/cancel"):
        assert (await lee.get(address)).status == 403
    assert (await lee.upload("/new-campaign", LIST, **FORM)).status == 403
    assert (await lee.post("/routes/reminders/call", to="+12125550142")).status == 403
    (only,) = (await outbound.served.api("GET", "/campaigns")).body["campaigns"]
    assert only["status"] == "draft"


async def test_what_stands_in_a_list_stays_text(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    rows = f'to,timezone,"{SCRIPT}"\n{SCRIPT},,x\n+12125550142,,{SCRIPT}\n+12125550143,{SCRIPT},x\n'
    path = await kept(kim, rows, name=SCRIPT, machine="leave_message", message=SCRIPT)
    await kim.post(f"{path}/preview")
    for answer in (
        await kim.get("/campaigns"),
        await kim.get(path),
        await kim.get(f"{path}/cancel"),
        await kim.post(f"{path}/preview"),
        await kim.upload("/new-campaign", f"to\n{SCRIPT}\n", name=SCRIPT, route=SCRIPT, zone=SCRIPT, start_at=SCRIPT),
        await kim.upload("/new-campaign", f"to\n{SCRIPT}\n", **FORM),
    ):
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;" in answer.text
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", answer.text)


async def test_one_call_is_placed_from_its_route(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    assert "Place a call" in words(await kim.get("/routes/reminders"))
    placed = await kim.post("/routes/reminders/call", to="+12125550142", variables="first_name = Ada\nnote=a=b")
    assert placed.status == 303, words(placed)
    assert re.match(r"/calls/out_[0-9a-f]{32}\?said=placed", placed.headers["Location"])
    await outbound.dialer.step()
    (created,) = outbound.twilio.created
    assert created["To"] == "+12125550142"
    wrong = await kim.post("/routes/reminders/call", to="+442079460000", timezone="", variables="x=1")
    assert wrong.status == 422
    assert 'class="error" id="call-to-error"' in wrong.text
    assert 'value="+442079460000"' in wrong.text


@pytest.fixture
async def inbound(tmp_path: Path) -> AsyncIterator[Running]:
    write_files(tmp_path, FILES)
    async with running(settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")) as served:
        yield served


async def test_without_an_outbound_route_the_form_says_so(inbound: Running) -> None:
    kim = await visitor(inbound, "editor")
    assert "There is no outbound route yet" in words(await kim.get("/new-campaign"))
    assert "Place a call" not in words(await kim.get("/routes/support"))
    answer = await kim.upload("/new-campaign", LIST, name="spring", route="support")
    assert "is inbound" in field(answer, "route")


async def test_open_pages_are_told_of_each_step(outbound: Outbound) -> None:
    kim = await visitor(outbound.served, "editor")
    path = await kept(kim)
    headers = {"Cookie": f"session={kim.cookies['session']}", "Accept": "text/event-stream"}
    async with outbound.served.http.get(outbound.served.url + "/live", headers=headers) as stream:
        await _told(stream, lambda event: "draft" in str(event.get("campaigns")))
        await kim.post(f"{path}/start")
        await _told(stream, lambda event: event.get("status") == "running")
        await outbound.dialer.step()
        await _told(stream, lambda event: (event.get("counts") or {}).get("dialling"))
    assert 'data-live="campaign dialing"' in (await kim.get(path)).text


async def _told(stream: aiohttp.ClientResponse, wanted: Callable[[dict[str, Any]], object]) -> None:
    """Read on until an event says what is wanted."""
    async with asyncio.timeout(20):
        async for line in stream.content:
            if line.startswith(b"data: ") and wanted(json.loads(line[6:])):
                return
    raise AssertionError("the stream ended")

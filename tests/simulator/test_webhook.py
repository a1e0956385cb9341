"""One request as Twilio makes it, against a server that does as it is told."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from gateway.simulator.overrides import Overrides
from gateway.simulator.webhook import Twilio, WebhookFailed
from tests.conftest import free_port

PUBLIC = "https://calls.example.com/hooks"


class Server:
    """Answers each request with the next of ``answers`` and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.asked: list[tuple[str, dict[str, str], str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.path_qs, form, request.headers["X-Twilio-Signature"]))
        return self.answers.pop(0)


def twiml(text: str = "<Response/>", **kwargs: object) -> web.Response:
    return web.Response(text=text, content_type="text/xml", **kwargs)  # type: ignore[arg-type]


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Twilio]]:
    double, port = Server(), free_port()
    app = web.Application()
    app.router.add_post("/{tail:.*}", double.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as http:
        yield double, Twilio(http, token="t", public_url=PUBLIC, reach=f"http://127.0.0.1:{port}", limit=2)
    await runner.cleanup()


async def test_the_public_url_is_signed_without_the_fragment(server: tuple[Server, Twilio]) -> None:
    double, twilio = server
    double.answers = [twiml()]
    fields = {"CallSid": "CA1", "From": "+1", "Empty": ""}
    await twilio.ask(PUBLIC + "/voice?x=1#rc=2", fields)
    path, form, signature = double.asked[0]
    assert (path, form) == ("/voice?x=1", fields)
    assert RequestValidator("t").validate(PUBLIC + "/voice?x=1", fields, signature)


@pytest.mark.parametrize(
    ("fragment", "posts"),
    [("", 1), ("#rc=2&rp=5xx", 3), ("#rc=2&rp=4xx", 1), ("#rc=1&rp=all", 2), ("#rc=0&rp=all", 1)],
)
async def test_a_fault_is_retried_as_the_url_says(server: tuple[Server, Twilio], fragment: str, posts: int) -> None:
    double, twilio = server
    double.answers = [web.Response(status=503) for _ in range(3)]
    with pytest.raises(WebhookFailed) as failed:
        await twilio.ask(PUBLIC + "/voice" + fragment, {})
    assert failed.value.code == 11200
    assert len(double.asked) == posts


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (web.Response(body=b"hello", headers={"Content-Type": "application/json"}), 12300),
        (web.Response(body=b"", content_type="text/xml"), 11770),
        (web.Response(body=b"x" * 70_000, content_type="text/xml"), 11750),
    ],
)
async def test_what_is_no_twiml_is_refused(server: tuple[Server, Twilio], answer: web.Response, code: int) -> None:
    double, twilio = server
    double.answers = [answer]
    with pytest.raises(WebhookFailed) as failed:
        await twilio.ask(PUBLIC + "/voice", {})
    assert failed.value.code == code


async def test_redirects_are_followed_and_signed_anew(server: tuple[Server, Twilio]) -> None:
    double, twilio = server
    double.answers = [
        web.Response(status=307, headers={"Location": "/hooks/b"}),
        twiml("<Response><Hangup/></Response>"),
    ]
    answer = await twilio.ask(PUBLIC + "/a", {"CallSid": "CA1"})
    assert answer.url == "https://calls.example.com/hooks/b"
    assert RequestValidator("t").validate(answer.url, {"CallSid": "CA1"}, double.asked[1][2])


async def test_nobody_there_is_a_failed_connection() -> None:
    async with aiohttp.ClientSession() as http:
        twilio = Twilio(http, token="t", public_url=PUBLIC, reach=f"http://127.0.0.1:{free_port()}")
        with pytest.raises(WebhookFailed) as failed:
            await twilio.ask(PUBLIC + "/voice", {})
    assert failed.value.code == 11205


def test_overrides_read_as_twilio_documents_them() -> None:
    url, told = Overrides.of("https://x.example/v?a=1#ct=2000&rt=4000&tt=12000&rc=2&rp=ct,rt,5xx")
    assert url == "https://x.example/v?a=1"
    assert (told.connect, told.read, told.total, told.retries) == (2.0, 4.0, 12.0, 2)
    assert told.policy == {"ct", "rt", "5xx"}
    assert Overrides.of("https://x.example/v")[1] == Overrides()
    assert Overrides.of("https://x.example/v#rc=99&rt=99999&rp=all")[1].retries == 5

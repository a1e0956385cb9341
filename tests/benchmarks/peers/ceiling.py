"""The ceiling: the least that an aiohttp server can do with the webhook: read it, say the same again."""

import sys

import uvloop
from aiohttp import web

TWIML = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url="wss://agents.example.com/support/1">'
    '<Parameter name="version" value="support@1" /></Stream></Connect></Response>'
)


async def voice(request: web.Request) -> web.Response:
    """Read the form's bytes and answer constant TwiML."""
    await request.read()
    return web.Response(text=TWIML, content_type="text/xml")


async def ready(_: web.Request) -> web.Response:
    """Say that calls are taken."""
    return web.Response()


def main() -> None:
    """Serve on the port given as the only argument."""
    uvloop.install()
    app = web.Application()
    app.add_routes([web.post("/twilio/voice", voice), web.get("/readyz", ready)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()

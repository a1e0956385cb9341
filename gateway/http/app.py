"""The web application: Twilio's webhooks, the API, the console, and what operations watch."""

import asyncio
import gc
import signal
import sys

from aiohttp import web

from gateway import __version__, log
from gateway.errors import NotFound
from gateway.http.api import ENDPOINTS
from gateway.http.api.endpoint import error_response, serve
from gateway.http.api.openapi import describe
from gateway.http.auth import DOORKEEPER, Doorkeeper
from gateway.http.connection import Runner
from gateway.http.console import add_console, read_templates
from gateway.http.health import health_of
from gateway.http.keys import GATEWAY
from gateway.http.meters import exposition
from gateway.http.webhooks import BODY_BYTES, WEBHOOKS
from gateway.settings import Settings
from gateway.wiring import Gateway, open_gateway

_log = log.get("http")

_KEEPALIVE_SECONDS = 75.0
_DRAIN_SECONDS = 3.0
_COLLECT_AFTER = 10_000  # objects; the interpreter's 700 are made by three calls
# How long a thread keeps the interpreter when another wants it. A call changes threads several times, from the loop
# to the writer and back: with the interpreter's own 5 ms it would wait tens of ms beside a list that is being read.
_SWITCH_SECONDS = 0.0005


def make_app(gateway: Gateway) -> web.Application:
    """The application over an open gateway."""
    app = web.Application(client_max_size=BODY_BYTES)
    app[GATEWAY] = gateway
    for path, handler in WEBHOOKS.items():
        app.router.add_post(path, handler)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/openapi.json", _openapi)
    api = web.Application()
    api[GATEWAY] = gateway
    api[DOORKEEPER] = app[DOORKEEPER] = Doorkeeper(gateway)
    for one in ENDPOINTS:
        api.router.add_route(one.method, one.path, serve(one))
    api.router.add_route("*", "/{tail:.*}", _no_endpoint)
    app.add_subapp("/api/v1", api)
    add_console(app)
    app.on_shutdown.append(_end_streams)
    return app


async def serve_forever(settings: Settings, *, ready: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM or SIGINT: then accept nothing new, answer who is connected, flush, and return."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with open_gateway(settings) as gateway:
        app = make_app(gateway)
        read_templates(app)
        runner = Runner(app, access_log=None, keepalive_timeout=_KEEPALIVE_SECONDS, shutdown_timeout=5.0)
        await runner.setup()
        site = web.TCPSite(runner, settings.server.host, settings.server.port, backlog=1024)
        await site.start()
        gc.set_threshold(_COLLECT_AFTER)
        sys.setswitchinterval(_SWITCH_SECONDS)
        _log.info("serving", url=settings.server.public_url, version=__version__)
        if ready is not None:
            ready.set()
        await stop.wait()
        await _drain(gateway, runner, site)
    _log.info("stopped")


async def _drain(gateway: Gateway, runner: Runner, site: web.TCPSite) -> None:
    """Stop accepting first; then whoever is connected is answered, and told that the connection ends."""
    gateway.draining = True
    gateway.feed.close()
    await site.stop()
    server = runner.server
    until = asyncio.get_running_loop().time() + _DRAIN_SECONDS
    while server is not None and server.connections and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.05)
    await runner.cleanup()


async def _end_streams(app: web.Application) -> None:
    app[GATEWAY].feed.close()


async def _healthz(request: web.Request) -> web.Response:
    """The process is there and its loop turns."""
    return web.json_response({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    """Whether calls are answered as they should be, and what an operator should know beside it.

    200 also when the database is away: calls are answered then too. 503 while draining.
    """
    told = await health_of(request.app[GATEWAY])
    return web.json_response(told, status=200 if told["ok"] else 503)


async def _metrics(request: web.Request) -> web.Response:
    body = exposition(request.app[GATEWAY])
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})


async def _openapi(request: web.Request) -> web.Response:
    return web.json_response(describe(ENDPOINTS))


async def _no_endpoint(request: web.Request) -> web.Response:
    return error_response(NotFound(f"there is no {request.method} {request.path}; see /openapi.json"))

"""What the handlers share, under typed keys of the application."""

from aiohttp import web

from gateway.wiring import Gateway

GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)

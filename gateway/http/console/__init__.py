"""The operator console: server-rendered pages at ``/``, one file of handlers, one folder of templates per area."""

from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

from gateway.http import formats
from gateway.http.auth import DOORKEEPER
from gateway.http.console import admin, agents, calls, campaigns, dialing, experiments, live, overview, routes, signin
from gateway.http.console.page import AT_ONCE, SESSIONS, TURNS, Page, serve_page
from gateway.http.console.sessions import Sessions
from gateway.http.console.static import add_static
from gateway.http.console.turns import Turns
from gateway.http.keys import GATEWAY

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *routes.PAGES,
    *experiments.PAGES,
    *agents.PAGES,
    *calls.PAGES,
    *campaigns.PAGES,
    *dialing.PAGES,
    *admin.PAGES,
    *signin.PAGES,
    *live.PAGES,
)


TEMPLATES: web.AppKey[jinja2.Environment] = web.AppKey("templates", jinja2.Environment)

__all__ = ["PAGES", "SESSIONS", "add_console", "read_templates"]


def add_console(app: web.Application) -> None:
    """Put the pages into the application; its gateway and doorkeeper are there already."""
    app[SESSIONS] = Sessions(app[GATEWAY], app[DOORKEEPER])
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    app[TEMPLATES] = environment
    app[TURNS] = Turns(AT_ONCE)
    environment.filters.update(formats.FILTERS)
    environment.globals["static"] = add_static(app)
    for one in PAGES:
        app.router.add_route(one.method, one.path, serve_page(one))
    for method, path, handler in signin.DOORS:
        app.router.add_route(method, path, handler)


def read_templates(app: web.Application) -> None:
    """Compile every template now: to do so at the first page would hold up callers for a quarter of a second."""
    for name in app[TEMPLATES].list_templates():
        app[TEMPLATES].get_template(name)

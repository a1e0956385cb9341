"""The first page: what goes on now, and what needs attention."""

from aiohttp import web

from gateway.http.api.overview import show_overview
from gateway.http.console.page import View, page


@page("GET", "/", live=True)
async def front(view: View) -> web.StreamResponse:
    """Alarms, calls now and today, and a line for each route."""
    told = await view.ask(show_overview, query={"limit": 25})
    return await view.render("overview/page.html", **told)


PAGES = (front,)

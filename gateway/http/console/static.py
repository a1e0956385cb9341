"""Serves the console's stylesheets and scripts out of memory, each under an address that changes with its content."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def add_static(app: web.Application) -> Callable[[str], str]:
    """Add the files to the application; returns what gives the address of each by its name."""
    files = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    marks = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in files.items()}

    async def serve(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'",
        }
        return web.Response(
            body=files[name], content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers
        )

    app.router.add_get("/static/{name}", serve)
    return lambda name: f"/static/{name}?v={marks[name]}"

"""A browser without a screen: keeps its cookie, reads pages, and sends their forms."""

import html
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

import aiohttp

from tests.conftest import ADMIN, Answer, Running


@dataclass(kw_only=True)
class Visitor:
    """Somebody at the console of a gateway; ``origin`` is what their browser says where a form comes from."""

    served: Running
    http: aiohttp.ClientSession
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    origin: str | None = None

    async def get(self, path: str) -> Answer:
        """A page; redirects are not followed."""
        return await self._send("GET", path)

    async def post(self, path: str, *, csrf: str | None = None, **fields: str) -> Answer:
        """A form; field names are written with double underscores for dots, a trailing one is dropped."""
        sent = {name.rstrip("_").replace("__", "."): value for name, value in fields.items()}
        return await self._send("POST", path, {"csrf": self.csrf if csrf is None else csrf, **sent})

    async def upload(self, path: str, file: str | bytes | None, *, csrf: str | None = None, **fields: str) -> Answer:
        """A form with a file behind its fields; without one as a browser sends it when nothing was chosen."""
        form = aiohttp.FormData()
        form.add_field("csrf", self.csrf if csrf is None else csrf)
        for name, value in fields.items():
            form.add_field(name.rstrip("_").replace("__", "."), value)
        content = file.encode() if isinstance(file, str) else file or b""
        form.add_field("file", content, filename="" if file is None else "people.csv", content_type="text/csv")
        return await self._send("POST", path, form)

    async def sign_in(self, token: str = ADMIN) -> "Visitor":
        """Sign in, and learn what forms must carry."""
        answer = await self.post("/sign-in", token=token)
        assert answer.status == 303, answer.text
        await self.get("/")
        return self

    async def _send(self, method: str, path: str, form: dict[str, str] | aiohttp.FormData | None = None) -> Answer:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST" and self.origin != "":
            headers["Origin"] = self.origin or self.served.url
        async with self.http.request(
            method, self.served.url + path, data=form, headers=headers, allow_redirects=False
        ) as answer:
            text = await answer.text()
            for line in answer.headers.getall("Set-Cookie", []):
                for name, morsel in SimpleCookie(line).items():
                    self.cookies[name] = morsel.value
            found = re.search(r'name="csrf" value="([0-9a-f]+)"', text)
            if found:
                self.csrf = found[1]
            return Answer(status=answer.status, text=text, headers=answer.headers.copy())


async def visitor(served: Running, role: str | None = None) -> Visitor:
    """Somebody signed in with a role; as the administrator without one."""
    token = ADMIN
    if role is not None:
        made = await served.api("POST", "/tokens", {"name": f"the {role}", "role": role})
        token = made.body["token"]["secret"]
    return await stranger(served).sign_in(token)


def stranger(served: Running) -> Visitor:
    """Somebody who is not signed in."""
    return Visitor(served=served, http=served.http)


def words(answer: Answer) -> str:
    """What is written on a page, without its tags."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())

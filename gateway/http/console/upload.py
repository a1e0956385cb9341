"""Reads a form that carries a file: first its fields, then, as it comes, the file, which must stand last."""

from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import Invalid, Malformed

MOST_BYTES = 256 * 1024 * 1024
"""The longest form that is taken; a longer list goes through the API or the command line."""
_FIELD_BYTES = 64 * 1024
_MOST_FIELDS = 100
_CHUNK_BYTES = 64 * 1024
_BROKEN = (ValueError, LookupError, AssertionError, ConnectionError, HttpProcessingError, web.RequestPayloadError)


class File:
    """A file on its way in: its name, and its bytes as they come."""

    def __init__(self, part: BodyPartReader) -> None:
        self.name = part.filename or ""
        self._part = part

    async def chunks(self) -> AsyncIterator[bytes]:
        """What has not been read yet; raises Malformed when it breaks off."""
        try:
            while chunk := await self._part.read_chunk(_CHUNK_BYTES):
                yield bytes(chunk)
        except _BROKEN as error:
            raise Malformed("the file broke off before its end") from error

    async def skip(self) -> None:
        """Read what is left and drop it: a browser that still sends would not read our answer."""
        async for _ in self.chunks():
            pass


async def read_upload(
    request: web.Request, check: Callable[[str], None]
) -> tuple[Mapping[str, list[str]], File | None]:
    """The fields, and the file behind them, of a form sent as multipart/form-data; None where it holds no file.

    Its first field is ``csrf``; ``check`` sees it before anything else is read, and raises to refuse the form.
    """
    if request.content_type != "multipart/form-data":
        raise Malformed("a form with a file is sent as multipart/form-data")
    if request.content_length is None or request.content_length > MOST_BYTES:
        raise Invalid(f"a form of at most {MOST_BYTES >> 20} MiB is taken here, sent with its length")
    fields: dict[str, list[str]] = {}
    count = 0
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise Malformed("the form cannot be read")
            if not fields and (part.name != "csrf" or part.filename is not None):
                check("")
            if part.filename is not None:
                return fields, File(part)
            value = await _field(part)
            if not fields:
                check(value)
            fields.setdefault(part.name, []).append(value)
            count += 1
            if count > _MOST_FIELDS:
                raise Malformed(f"a form has at most {_MOST_FIELDS} fields")
    except _BROKEN as error:
        raise Malformed("the form cannot be read") from error
    if not fields:
        check("")
    return fields, None


async def _field(part: BodyPartReader) -> str:
    raw = b""
    while chunk := await part.read_chunk():
        raw += chunk
        if len(raw) > _FIELD_BYTES:
            raise Malformed(f"the field {part.name} is too long")
    text = raw.decode()
    if "\x00" in text:
        raise Malformed(f"the field {part.name} cannot be read")
    return tidied(text)


def tidied(value: str) -> str:
    """What was typed into a field, with the line ends of a text and without the blanks around it."""
    return value.replace("\r\n", "\n").strip()

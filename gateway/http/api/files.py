"""Reads a CSV body as it comes, a little at a time, so that no caller waits for a long file."""

from collections.abc import AsyncIterator, Sequence
from typing import Generic, Protocol, TypeVar

from gateway.courtesy import aside
from gateway.errors import Malformed
from gateway.http.api.endpoint import Ask

T_co = TypeVar("T_co", covariant=True)

# Some fifty rows, which take a few milliseconds.
_PIECE_BYTES = 2048


class Reader(Protocol, Generic[T_co]):
    """Reads a file piece by piece, wherever it was cut."""

    def feed(self, chunk: bytes) -> Sequence[T_co]: ...
    def finish(self) -> Sequence[T_co]: ...


def csv_of(ask: Ask) -> AsyncIterator[bytes]:
    """The CSV file that a request carries; raises Malformed for one without."""
    if ask.stream is None:
        raise Malformed("send the file itself as the body, with Content-Type: text/csv")
    return ask.stream


async def read_pieces(file: AsyncIterator[bytes], reader: Reader[T_co]) -> AsyncIterator[Sequence[T_co]]:
    """The rows of a file as its pieces complete them."""
    async for chunk in file:
        for start in range(0, len(chunk), _PIECE_BYTES):
            yield await aside(reader.feed, chunk[start : start + _PIECE_BYTES])
    yield await aside(reader.finish)

"""Pages of long lists: a cursor says from where the next page goes on."""

from collections.abc import Sequence

from pydantic import Field

from gateway.http.api.endpoint import Body


class Page(Body):
    """``cursor`` is the ``next`` of the page before; ``limit`` is how many things a page holds."""

    cursor: int | None = Field(None, ge=1, le=2**62)
    limit: int = Field(50, ge=1, le=1000)


def next_cursor(numbers: Sequence[int | None], limit: int) -> int | None:
    """The cursor of the page after the rows of these numbers, which were read in order; None after the last."""
    return numbers[-1] if len(numbers) == limit else None

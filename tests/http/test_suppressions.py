"""The list of those who must not be called, over the API: imported, read page by page, never held up by its size."""

import asyncio
from typing import Any

import pytest

from gateway.client import GatewayClient
from gateway.http.api import outbound
from tests.conftest import ADMIN, Answer, Running

ADA, BEA, CLEO = "+14155550142", "+442071838750", "+390612345678"


async def send(served: Running, text: str | bytes, *, token: str = ADMIN, kind: str = "text/csv") -> Answer:
    raw = text.encode() if isinstance(text, str) else text
    return await served.api("POST", "/suppressions/import", raw, token=token, Content_Type=kind)


async def listed(served: Running) -> dict[str, Any]:
    async with GatewayClient(served.url, ADMIN) as gateway:
        return {one["number"]: one async for one in gateway.pages("/suppressions", "suppressions", limit=2)}


async def audited(served: Running) -> list[dict[str, Any]]:
    rows = (await served.api("GET", "/audit?limit=1000")).body["audit"]
    return [row["detail"] for row in rows if row["action"] == "import suppressions"]


async def test_good_rows_are_kept_and_bad_ones_told(served: Running) -> None:
    await served.api("POST", "/suppressions", {"number": BEA, "reason": "by letter"})
    answer = await send(served, f"number,reason\n{ADA},on the phone\n{BEA},later\n020 7183,x\n{ADA},again\n{CLEO},\n")
    told = answer.body["suppression_import"]
    assert (answer.status, told["added"], told["known"], told["skipped"]) == (200, 2, 2, 1)
    ((line, text),) = [(one["line"], one["text"]) for one in told["problems"]]
    assert (line, "E.164" in text) == (4, True)
    reasons = {number: one["reason"] for number, one in (await listed(served)).items()}
    assert reasons == {ADA: "on the phone", BEA: "by letter", CLEO: "asked not to be called"}
    assert (await listed(served))[ADA]["author"] == "admin"
    assert await audited(served) == [{"added": 2}]


async def test_to_import_again_changes_nothing(served: Running) -> None:
    file = f"number\n{ADA}\n{BEA}\n"
    await send(served, file)
    before = await listed(served)
    told = (await send(served, file)).body["suppression_import"]
    assert (told["added"], told["known"]) == (0, 2)
    assert await listed(served) == before
    assert await audited(served) == [{"added": 2}]


@pytest.mark.parametrize(
    ("file", "places"),
    [
        ("number\n0207\n\nnobody\n", ["line 2", "line 4"]),
        ("number\n", []),
        ("", ["line 1"]),
        (f"to\n{ADA}\n", ["line 1", "line 1"]),
        (f"number\n{ADA}\n".encode("utf-16"), ["line 1"]),
        # What spoils a file is found before anything of it is written.
        (f"number\n{ADA}\n" + "x" * 1_100_000, ["line 3"]),
    ],
)
async def test_a_file_without_a_good_row_is_refused_whole(
    served: Running, file: str | bytes, places: list[str]
) -> None:
    answer = await send(served, file)
    assert answer.status == 422
    assert [one["place"] for one in answer.body["error"]["problems"]] == places
    assert await listed(served) == {}
    assert await audited(served) == []


async def test_only_a_file_of_an_editor_is_taken(served: Running) -> None:
    answer = await send(served, f"number\n{ADA}\n", kind="application/json")
    assert (answer.status, "text/csv" in answer.body["error"]["message"]) == (400, True)
    viewer = (await served.api("POST", "/tokens", {"name": "kim", "role": "viewer"})).body["token"]["secret"]
    assert (await send(served, f"number\n{ADA}\n", token=viewer)).status == 403
    assert await listed(served) == {}


async def test_a_long_file_is_written_in_short_transactions(served: Running) -> None:
    numbers = [f"+1415555{number:04d}" for number in range(2500)]
    bad = "x\n" * 1100
    told = (await send(served, "number\n" + "\n".join(numbers) + "\n" + bad)).body["suppression_import"]
    assert (told["added"], told["known"], told["skipped"]) == (2500, 0, 1100)
    assert [told["problems"][place]["line"] for place in (0, -1)] == [2502, 3501]
    assert [one["added"] for one in await audited(served)] == [500, 1000, 1000]
    page = (await served.api("GET", "/suppressions?limit=1000")).body
    assert [one["number"] for one in page["suppressions"]] == numbers[:1000]
    page = (await served.api("GET", f"/suppressions?limit=1000&cursor={page['next']}")).body
    assert [one["number"] for one in page["suppressions"]] == numbers[1000:2000]
    page = (await served.api("GET", f"/suppressions?limit=1000&cursor={page['next']}")).body
    assert ([one["number"] for one in page["suppressions"]], page["next"]) == (numbers[2000:], None)


async def test_a_call_is_answered_while_a_file_is_imported(served: Running) -> None:
    numbers = "\n".join(f"+1415555{number:04d}" for number in range(9000))
    importing = asyncio.create_task(send(served, f"number\n{numbers}\n"))
    answered = 0
    while not importing.done():
        assert (await served.ring()).status == 200
        answered += 1
    assert (await importing).body["suppression_import"]["added"] == 9000
    assert answered >= 5  # each is durable: it had its turn between the transactions


async def test_two_imports_at_once_count_each_number_once(served: Running) -> None:
    numbers = "\n".join(f"+1415555{number:04d}" for number in range(3000))
    answers = await asyncio.gather(*(send(served, f"number\n{numbers}\n") for _ in range(2)))
    told = [answer.body["suppression_import"] for answer in answers]
    assert (sum(one["added"] for one in told), sum(one["known"] for one in told)) == (3000, 3000)


async def test_too_many_rows_are_refused_before_one_is_written(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "_MOST_ROWS", 1)
    answer = await send(served, f"number\n{ADA}\n{BEA}\n")
    assert (answer.status, "in parts" in answer.body["error"]["message"]) == (422, True)
    assert await listed(served) == {}

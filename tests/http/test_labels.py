"""What people find in a call, to hold the judge against: typed, audited, the last word of each author stands."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.storage.schema import label
from tests.conftest import Running, running, settings_for, write_files

CALL = "CA" + "3" * 32
CRITERIA = [
    {"name": "resolved", "question": "Was it solved?", "as": "success"},
    {"name": "topic", "question": "What about?", "kind": "choice", "choices": ["billing", "sales"]},
    {"name": "quality", "question": "How good, from 1 to 5?", "kind": "number"},
]


@pytest.fixture
async def served(tmp_path: Path, database_url: str) -> AsyncIterator[Running]:
    write_files(tmp_path)
    settings = settings_for(tmp_path, database_url, GATEWAY_ANALYSIS__CRITERIA=json.dumps(CRITERIA))
    async with running(settings) as started:
        await started.ring(CallSid=CALL)
        yield started


async def labels(served: Running) -> list[tuple[str, str, str, Any]]:
    async with served.gateway.database.read() as connection:
        rows = await connection.execute(sa.select(label).order_by(label.c.criterion, label.c.author))
        return [(row.call, row.criterion, row.author, row.value) for row in rows]


async def token(served: Running, name: str, role: str) -> str:
    made = await served.api("POST", "/tokens", {"name": name, "role": role})
    secret: str = made.body["token"]["secret"]
    return secret


async def test_one_label_per_author_and_criterion_and_the_last_one_stands(served: Running) -> None:
    kim = await token(served, "kim", "editor")
    for value in (True, False):
        answer = await served.api("POST", f"/calls/{CALL}/label", {"criterion": "success", "value": value}, token=kim)
        assert answer.status == 200
    shown = answer.body["label"]
    # Whoever labels must not learn from the answer which version it was.
    assert shown.keys() == {"call", "criterion", "value", "author", "at"}
    await served.api("POST", f"/calls/{CALL}/label", {"criterion": "success", "value": True})
    await served.api("POST", f"/calls/{CALL}/label", {"criterion": "topic", "value": "sales"}, token=kim)
    assert await labels(served) == [
        (CALL, "success", "admin", True),
        (CALL, "success", "kim", False),
        (CALL, "topic", "kim", "sales"),
    ]
    audited = (await served.api("GET", f"/audit?subject=call+{CALL}")).body["audit"]
    assert [(row["author"], row["action"], row["detail"]["value"]) for row in audited] == [
        ("kim", "label", "sales"),
        ("admin", "label", True),
        ("kim", "label", False),
        ("kim", "label", True),
    ]


@pytest.mark.parametrize(
    ("criterion", "value", "cure"),
    [
        ("success", "yes", "true or false"),
        ("success", 1, "true or false"),
        ("sentiment", 2, "from -1"),
        ("sentiment", True, "a number"),
        ("topic", "Billing", '"billing", "sales"'),
        ("quality", "good", "a number"),
        ("resolved", True, "name one of success, sentiment, topic, quality"),
        ("tone", True, "name one of success, sentiment, topic, quality"),
    ],
)
async def test_a_label_of_the_wrong_kind_is_refused(served: Running, criterion: str, value: Any, cure: str) -> None:
    answer = await served.api("POST", f"/calls/{CALL}/label", {"criterion": criterion, "value": value})
    assert answer.status == 422
    assert cure in answer.body["error"]["message"]
    assert await labels(served) == []


@pytest.mark.parametrize("body", [{}, {"criterion": "success"}, {"criterion": "success", "value": None}])
async def test_a_label_needs_its_value(served: Running, body: dict[str, Any]) -> None:
    assert (await served.api("POST", f"/calls/{CALL}/label", body)).status == 422


async def test_a_label_does_not_touch_the_outcome(served: Running) -> None:
    await served.api("POST", f"/calls/{CALL}/outcome", {"success": True})
    await served.api("POST", f"/calls/{CALL}/label", {"criterion": "success", "value": False})
    assert (await served.api("GET", f"/calls/{CALL}")).body["call"]["outcome"]["success"] is True


async def test_an_unknown_call_has_no_label(served: Running) -> None:
    answer = await served.api("POST", "/calls/CAnobody/label", {"criterion": "success", "value": True})
    assert answer.status == 404
    assert await labels(served) == []


@pytest.mark.parametrize("role", ["viewer", "agent"])
async def test_only_an_editor_may_label(served: Running, role: str) -> None:
    secret = await token(served, "somebody", role)
    body = {"criterion": "success", "value": True}
    assert (await served.api("POST", f"/calls/{CALL}/label", body, token=secret)).status == 403


async def spoken(served: Running, count: int) -> None:
    for place in range(count):
        sid = f"CA{place:032d}"
        await served.ring(CallSid=sid, From=f"+1212555{place:04d}")
        said = [{"role": "agent", "text": "Good morning"}, {"role": "caller", "text": f"This is call {place}"}]
        told = {"success": place % 3 > 0, "transcript": said, "final": True}
        assert (await served.api("POST", f"/calls/{sid}/outcome", told)).status == 200


async def test_people_who_label_side_by_side_are_given_every_call_once_and_blinded(served: Running) -> None:
    await spoken(served, 10)
    people = [await token(served, name, "editor") for name in ("kim", "lee")]
    given: list[str] = []
    for place in range(10):
        one = await served.api("GET", "/experiments/support-1/labels", token=people[place % 2])
        told = one.body["to_label"]
        assert told.keys() == {"call", "transcript"}
        assert one.body["labelled"] == {"calls": place, "by_you": place // 2, "suggested": 400}
        for hidden in ("support@", '"arm"', '"version"', '"success"'):
            assert hidden not in json.dumps(one.body | {"criteria": []})
        given.append(told["call"])
        body = {"criterion": "success", "value": True}
        await served.api("POST", f"/calls/{told['call']}/label", body, token=people[place % 2])
    assert len(set(given)) == 10
    # A second opinion comes last, and never one's own.
    again = (await served.api("GET", "/experiments/support-1/labels", token=people[0])).body["to_label"]["call"]
    assert again in given[1::2]


async def test_a_call_that_is_passed_over_is_not_given_again_at_once(served: Running) -> None:
    await spoken(served, 2)
    first = (await served.api("GET", "/experiments/support-1/labels")).body
    assert first["passed"] == 0
    second = (await served.api("GET", f"/experiments/support-1/labels?after={first['to_label']['call']}")).body
    assert second["to_label"]["call"] != first["to_label"]["call"]
    last = (await served.api("GET", f"/experiments/support-1/labels?after={second['to_label']['call']}")).body
    assert (last["to_label"], last["passed"]) == (None, 2)


async def test_people_are_asked_what_the_judge_is_asked(served: Running) -> None:
    told = (await served.api("GET", "/experiments/support-1/labels")).body["criteria"]
    assert [(one["criterion"], one["question"], one["kind"]) for one in told] == [
        ("success", "Was it solved?", "boolean"),
        ("sentiment", "How does the caller feel?", "number"),
        ("topic", "What about?", "choice"),
        ("quality", "How good, from 1 to 5?", "number"),
    ]
    assert told[2]["choices"] == ["billing", "sales"]


async def test_only_an_editor_is_given_calls_to_label(served: Running) -> None:
    secret = await token(served, "somebody", "viewer")
    assert (await served.api("GET", "/experiments/support-1/labels", token=secret)).status == 403
    assert (await served.api("GET", "/experiments/nothing-1/labels")).status == 404

"""What callers are told when something is refused."""

import inspect

import pytest

from gateway import errors
from gateway.errors import Conflict, GatewayError, Invalid, Moved, Problem

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]


@pytest.mark.parametrize(
    ("place", "path", "shown"),
    [
        ("routes/sales.toml", "ab_test.split.b", "routes/sales.toml: ab_test.split.b: is a draft"),
        ("routes/sales.toml", "", "routes/sales.toml: is a draft"),
        ("", "versions", "versions: is a draft"),
        ("", "", "is a draft"),
    ],
)
def test_a_problem_reads_as_place_key_and_cure(place: str, path: str, shown: str) -> None:
    assert str(Problem(place=place, path=path, text="is a draft")) == shown


def test_every_problem_reaches_the_api_in_the_one_error_shape() -> None:
    problems = [Problem(place="a.toml", path="x", text="one"), Problem(place="b.toml", path="", text="two")]
    assert Invalid("two problems", problems).as_json() == {
        "ok": False,
        "error": {
            "code": "invalid",
            "message": "two problems",
            "problems": [
                {"place": "a.toml", "path": "x", "text": "one"},
                {"place": "b.toml", "path": "", "text": "two"},
            ],
        },
    }


def test_an_error_without_problems_has_an_empty_list_of_them() -> None:
    assert GatewayError("broken").as_json() == {
        "ok": False,
        "error": {"code": "error", "message": "broken", "problems": []},
    }


def test_the_message_is_what_a_traceback_shows() -> None:
    assert str(Conflict("somebody was faster")) == "somebody was faster"


def test_problems_cannot_be_changed_by_whoever_made_the_list() -> None:
    problems = [Problem(place="a", path="", text="one")]
    error = Invalid("one problem", problems)
    problems.clear()
    assert len(error.problems) == 1


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in ALL]
    assert len(ALL) > 8
    assert sorted(set(codes)) == sorted(codes)


def test_a_moved_base_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        raise Moved("the base moved")

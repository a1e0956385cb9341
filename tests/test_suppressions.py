"""The list of those who must not be called, as a file: what is taken, what is told, and what is written back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.csvfile import BadRow, csv_line
from gateway.errors import Invalid
from gateway.suppressions import UNSAID, Suppression, SuppressionReader, written

ADA, BEA = "+14155550142", "+442071838750"


def read(text: str | bytes) -> list[Suppression | BadRow]:
    reader = SuppressionReader()
    return reader.feed(text.encode() if isinstance(text, str) else text) + reader.finish()


def test_spreadsheets_write_it_in_many_ways() -> None:
    mark = "\ufeff"
    text = f'{mark}reason,number\r\n"said ""stop"", twice",{ADA}\r\n\r\n  ,"{BEA}"'
    assert read(text) == [Suppression(ADA, 'said "stop", twice'), Suppression(BEA, UNSAID)]
    assert read(f"number\n{ADA}\n") == [Suppression(ADA, UNSAID)]


def test_a_number_that_no_plan_knows_is_taken_all_the_same() -> None:
    assert read("number\n+19999999999\n") == [Suppression("+19999999999", UNSAID)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("(415) 555-0142,x", "number"),
        ("1 415 555 2671,x", "if +14155552671 is meant"),
        ("1.4155552671E+10,x", "changed by a spreadsheet"),
        ("+266696687,x", "hidden number"),
        (",x", "number is empty"),
        (f"{ADA},{'x' * 501}", "at most 500"),
        (f"{ADA},a\x00b", "U+0000"),
        (f"{ADA}", "1 cell"),
        (f'{ADA},a "b" c', "quote"),
    ],
)
def test_a_bad_row_is_told_with_its_line(row: str, told: str) -> None:
    good, bad = read(f"number,reason\n{BEA},why\n{row}\n")
    assert good == Suppression(BEA, "why")
    assert isinstance(bad, BadRow)
    assert (bad.line, told in bad.text) == (3, True), bad.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty: the first line names the columns, as in number,reason"),
        (f"to\n{ADA}\n", "column named number"),
        (f"Number\n{ADA}\n", "must be written number"),
        (f"number,reson\n{ADA},x\n", '"reson" is not known'),
        ("number;reason\n", "semicolons"),
    ],
)
def test_a_wrong_header_spoils_the_file(text: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text)
    assert told in refused.value.message


@pytest.mark.parametrize("reason", ["=1+1", "+1 said no", "-", "@SUM(A1)", "\tx", "\rx"])
def test_no_spreadsheet_runs_a_reason(reason: str) -> None:
    (_, row) = csv.reader(io.StringIO(written([{"number": ADA, "reason": reason}]), newline=""))
    assert row == [ADA, f"'{reason}"]


PRINTED = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cn", "Co")), min_size=1, max_size=50)


@given(PRINTED.map(str.strip).filter(lambda text: text != "" and text[0] not in "=+-@" and "\ufffe" not in text))
def test_what_is_written_is_read_again(reason: str) -> None:
    assert read(written([{"number": ADA, "reason": reason}])) == [Suppression(ADA, reason)]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_cell_of_any_line_begins_a_formula(cells: list[str]) -> None:
    told = next(csv.reader(io.StringIO(csv_line([*cells, "end"]), newline="")))
    assert len(told) == len(cells) + 1
    for cell, meant in zip(told, cells, strict=False):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert cell in (meant, f"'{meant}")

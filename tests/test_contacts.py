"""What becomes a contact and what does not: every bad row is told with its line and its cure, and none is guessed."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts import EXPORTED, Contact, CsvReader, exported, read_json
from gateway.csvfile import BadRow
from gateway.errors import Invalid

ADA, BEA, CLEO = "+14155550142", "+442071838750", "+390612345678"


def read_csv(pieces: Iterable[bytes]) -> Iterator[Contact | BadRow]:
    """The rows of a file that comes in pieces, as an upload does."""
    reader = CsvReader()
    for piece in pieces:
        yield from reader.feed(piece)
    yield from reader.finish()


def read(text: str | bytes) -> list[Contact | BadRow]:
    return list(read_csv([text.encode() if isinstance(text, str) else text]))


def split(data: bytes, borders: list[int]) -> list[Contact | BadRow]:
    """The same file, cut at the borders on its way."""
    reader = CsvReader()
    rows = []
    for start, end in zip([0, *borders], [*borders, len(data)], strict=True):
        rows += reader.feed(data[start:end])
    return rows + reader.finish()


def contact(line: int, to: str, **variables: str) -> Contact:
    return Contact(line=line, to=to, timezone=None, consent=None, variables=variables)


def bad(row: Contact | BadRow) -> str:
    assert isinstance(row, BadRow), row
    return row.text


def lines(rows: list[Contact | BadRow]) -> list[tuple[int, bool]]:
    return [(row.line, isinstance(row, Contact)) for row in rows]


# -- rows as they should be ---------------------------------------------------------------------------------


def test_a_row_becomes_a_contact_and_every_other_column_a_variable() -> None:
    text = (
        f"first_name,to , timezone,consent,plan\nAda,{ADA},Europe/London,web form 2025-03-01,\n Bea ,{BEA},,  ,gold\n"
    )
    assert read(text) == [
        Contact(
            line=2,
            to=ADA,
            timezone="Europe/London",
            consent="web form 2025-03-01",
            variables={"first_name": "Ada", "plan": ""},
        ),
        # Blanks in a variable may be meant; a consent of blanks is none.
        Contact(line=3, to=BEA, timezone=None, consent=None, variables={"first_name": " Bea ", "plan": "gold"}),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_byte_order_marks_change_nothing(end: str, mark: str, last: bool) -> None:
    text = mark + end.join(['"to",name', f"{ADA},Zoë", "", f'{BEA},"a, b"']) + (end if last else "")
    assert read(text) == [contact(2, ADA, name="Zoë"), contact(4, BEA, name="a, b")]


def test_quotes_hold_commas_quotes_and_lines_and_the_next_row_keeps_its_line() -> None:
    text = f'to,note\r\n"{ADA}","one, ""two""\r\nthree\rfour\n"\r\n{BEA},""\n{CLEO},five\n'
    assert read(text) == [
        contact(2, ADA, note='one, "two"\r\nthree\rfour\n'),
        contact(6, BEA, note=""),
        contact(7, CLEO, note="five"),
    ]


def test_a_header_alone_has_no_contacts() -> None:
    assert read("to") == read("to\n") == read(b"\xef\xbb\xbfto") == []


# -- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("", ["to is empty", "country code"]),
        ("   ", ["to is empty"]),
        ("+1 415 555 0142", ["not written in E.164", ADA]),
        ("+1-415-555-0142", ["not written in E.164", ADA]),
        (" +14155550142", ["not written in E.164", ADA]),
        ("+14155550142\u202c", ["not written in E.164", ADA]),
        ("tel:+14155550142", ["not written in E.164", ADA]),
        ("0014155550142", ["not written in E.164", ADA]),
        ("14155550142", ["not written in E.164", ADA]),
        ("+4402071838750", ["not written in E.164", BEA]),
        ("(415) 555-0142", ["not written in E.164", "country code"]),
        ("4155550142", ["not written in E.164", "country code"]),
        ("020 7183 8750", ["not written in E.164", "country code"]),
        ("anonymous", ["not written in E.164"]),
        ("+1415555014", ["not a valid number", "too short"]),
        ("+141555501422", ["not a valid number", "too long"]),
        ("+9991234567", ["not a valid number", "no country"]),
        ("+10000000000", ["not a valid number", "no number of its country"]),
        ("+266696687", ["hidden number"]),
        ("1.41556E+10", ["spreadsheet", "as text", "in full"]),
        ("1,41556e+10", ["spreadsheet", "as text"]),
        ("+1.41556E+10", ["spreadsheet", "as text"]),
        ("14155550142.0", ["spreadsheet", "as text"]),
        ("=+14155550142", ["spreadsheet", "as text", ADA]),
        ('="+14155550142"', ["spreadsheet", "as text", ADA]),
        ("'+14155550142", ["spreadsheet", "as text", ADA]),
        ("@SUM(A1)", ["spreadsheet"]),
        ("#NUM!", ["spreadsheet"]),
    ],
)
def test_a_number_that_is_not_e164_is_told_how_to_be_written(to: str, words: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["to", "name"], [to, "Ada"], [CLEO, "Cleo"]])
    rows = read(out.getvalue())
    assert lines(rows) == [(2, False), (3, True)]
    assert [word for word in words if word not in bad(rows[0])] == []
    assert list(read_json([{"to": to}])) == [BadRow(line=1, text=bad(rows[0]))]


def test_no_suggestion_leaves_an_extension_out_or_guesses_a_country() -> None:
    for to in ["+14155550142 x5", "+14155550142;ext=5", "4155550142", "020 7183 8750"]:
        text = bad(read(f"to\n{to}\n")[0])
        assert "is meant" not in text


def test_only_the_first_of_two_equal_numbers_is_a_contact() -> None:
    rows = read(f"to,timezone\n{ADA},Nowhere\n{ADA},\n{BEA},\n{ADA},\n{ADA},\n")
    # The first row is no contact, so that nothing is repeated yet on line 3.
    assert lines(rows) == [(2, False), (3, True), (4, True), (5, False), (6, False)]
    assert "repeats line 3's number" in bad(rows[3])
    assert "repeats line 3's number" in bad(rows[4])


# -- rows as they should not be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"{ADA},Europe/London", ["2 cells", "3 columns"]),
        (f"{ADA},,a,b", ["4 cells", "3 columns", "quote a cell that holds a comma"]),
        ("hello", ["1 cell,"]),
        (f"{ADA},EDT,a", ["timezone", '"EDT"', "America/New_York"]),
        (f"{ADA},europe/london,a", ["timezone", "write Europe/London"]),
        (f"{ADA}, America/New York,a", ["timezone", "write America/New_York"]),
        (f"{ADA},localtime,a", ["timezone"]),
        ("+1415,EDT,a", ["to ", "timezone"]),
        (f"{ADA},,{'x' * 10_001}", ["name", "10,001 characters", "at most 10,000"]),
        (f"{ADA},,{'x' * 1_000_000}", ["longer than 10,000 characters"]),
        (f'{ADA},,"{"x" * 1_000_000}"', ["longer than 10,000 characters"]),
        (f"{ADA},,a\0b", ["name", "U+0000", "CSV UTF-8"]),
        (f"{ADA},,a\x0bb", ["name", "U+000B", "remove"]),
        (f'{ADA},,5" pipe', ["a quote stands inside a cell"]),
        (f'{ADA},, "a"', ["a quote stands inside a cell"]),
        (f'{ADA},,"a"b', ["a quote stands inside a cell"]),
        (f'{ADA},,"a" ', ["a quote stands inside a cell"]),
        (f'"{ADA}"",,a\n{CLEO},,"c"', ["inside a cell", "runs to line 3"]),
    ],
)
def test_a_bad_row_is_told_and_its_neighbours_are_read(row: str, words: list[str]) -> None:
    rows = read(f"to,timezone,name\n{row}\n{BEA},,Bea\n")
    assert lines(rows) == [(2, False), (3 + row.count("\n"), True)]
    assert [word for word in words if word not in bad(rows[0])] == []
    assert rows[1] == contact(rows[1].line, BEA, name="Bea")


def test_a_row_of_another_encoding_is_told_and_its_neighbours_are_read() -> None:
    rows = read(f"to,name\n{BEA},Bea\n".encode() + f"{ADA},Zoë\n".encode("latin-1") + f"{CLEO},Zoë\n".encode())
    assert lines(rows) == [(2, True), (3, False), (4, True)]
    assert "0xEB is not UTF-8" in bad(rows[1])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_a_quote_that_is_never_closed_is_told_where_its_row_begins(end: str) -> None:
    rows = read(f'to,name\n{BEA},Bea\n{ADA},"Ada\n{CLEO},Cleo{end}')
    assert lines(rows) == [(2, True), (3, False)]
    assert "never closed" in bad(rows[1])
    assert "runs to line 4" in bad(rows[1])


def test_a_quote_that_is_never_closed_swallows_no_more_than_a_mebibyte() -> None:
    given = []

    def endless() -> Iterator[bytes]:
        yield f'to,name\n{BEA},Bea\n{ADA},"Ada\n'.encode()
        while True:
            given.append(1)
            yield b"+14155550143,x\n" * 1000

    rows = read_csv(endless())
    assert next(rows) == contact(2, BEA, name="Bea")
    with pytest.raises(Invalid, match=r"line 3: .*1 MiB.*quote"):
        next(rows)
    assert len(given) < 80


def test_a_row_without_end_is_refused() -> None:
    rows = read_csv(b"to\n" if place == 0 else b"x" * 65536 for place in range(1_000_000))
    with pytest.raises(Invalid, match=r"line 2: .*1 MiB"):
        next(rows)


# -- files that cannot be read at all -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["line 1", "empty"]),
        (b"\n+14155550142\n", ["line 1", "empty"]),
        (b"\xef\xbb\xbf", ["empty"]),
        (f"to\n{ADA}\n".encode("utf-16"), ["UTF-16", "CSV UTF-8"]),
        (b"\xfe\xff" + f"to\n{ADA}\n".encode("utf-16-be"), ["UTF-16", "CSV UTF-8"]),
        (f"to\n{ADA}\n".encode("utf-16-le"), ["CSV UTF-8"]),
        ("to,straße\n".encode("latin-1"), ["line 1", "0xDF", "CSV UTF-8"]),
        (b"PK\x03\x04rest", ["spreadsheet", "CSV UTF-8"]),
        (b"to,name,name,plan\n", ["column name is there twice"]),
        (b"to,to\n", ["column to is there twice"]),
        (b"to,name, name \n", ["column name is there twice"]),
        (b"to,,name\n", ["column 2 has no name"]),
        (b"to,name, \n", ["column 3 has no name"]),
        (b"to,gateway_call\n", ["gateway_call", "rename"]),
        # As a SIP header it would be X-Gateway-Call.
        (b"to,Gateway-Call\n", ["Gateway-Call", "rename"]),
        (b"phone,name\n", ["no column named to", "phone"]),
        (b"To,name\n", ['"To"', "written to"]),
        (b"to,Timezone\n", ['"Timezone"', "written timezone"]),
        (b"to;name\n", ["semicolons", "commas"]),
        (b"to\tname\n", ["tabs", "commas"]),
        (b"phone|name\n", ["bars", "commas"]),
        (b'to,"name\n+14155550142,Ada\n', ["line 1", "never closed"]),
        (b'to,na"me\n', ["quote stands inside a cell"]),
        (b"to," + b"x" * 10_001 + b"\n", ["10,001 characters"]),
        (b"to,x,x,,gateway_a\n", ["x is there twice", "column 4", "gateway_a"]),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_culprit_and_cure(data: bytes, words: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        read(data)
    assert [word for word in words if word not in refused.value.message] == []
    assert {problem.place for problem in refused.value.problems} == {"line 1"}
    with pytest.raises(Invalid) as again:
        split(data, list(range(1, len(data))))
    assert again.value.message == refused.value.message


def test_a_hostile_header_gets_a_short_answer() -> None:
    with pytest.raises(Invalid) as refused:
        read("," * 1_000_000)
    assert len(refused.value.message) < 2_000


# -- any file, however it is cut -----------------------------------------------------------------------------

SPOKEN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12)
CELLS = st.lists(st.sampled_from(['"', ",", "\n", "\r", "\r\n", "\t", ";", "é", "𝄞", " ", "x"]), max_size=6).map(
    "".join
)
TEXTS = SPOKEN | CELLS


@given(
    st.lists(st.tuples(TEXTS, TEXTS), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
    st.data(),
)
def test_what_a_csv_writer_wrote_is_read_back_however_it_is_cut(
    texts: list[tuple[str, str]], end: str, quoting: Any, mark: bool, data: st.DataObject
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerow(["one", "to", "two"])
    # A carriage return alone is quoted by newer writers only: a writer is asked to quote all where one stands.
    careful = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    expected = []
    line = 2
    for place, (one, two) in enumerate(texts):
        to = f"+1415555{place:04}"
        (careful if "\r" in one + two else writer).writerow([one, to, two])
        expected.append(contact(line, to, one=one, two=two))
        line += 1 + sum(text.replace("\r\n", "\n").replace("\r", "\n").count("\n") for text in (one, two))
    written = ("\ufeff" if mark else "").encode() + out.getvalue().encode()
    borders = data.draw(st.lists(st.integers(0, len(written)), max_size=10).map(sorted))
    assert split(written, borders) == expected
    assert split(written, list(range(1, len(written)))) == expected


@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"\xc3", b"\xa9", b"\0", b"x", ADA.encode()])), st.data())
def test_any_bytes_are_read_the_same_however_they_are_cut(pieces: list[bytes], data: st.DataObject) -> None:
    written = b"to,name\n" + b"".join(pieces)
    whole = read(written)
    borders = data.draw(st.lists(st.integers(0, len(written)), max_size=10).map(sorted))
    assert split(written, borders) == whole
    # Nothing is lost without a word: every line that holds anything is a row's or within one.
    assert bool(whole) == bool(written[8:].strip(b"\r\n"))


def test_rows_stream_in_little_memory() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"to,timezone,consent,first_name\n"
        for place in range(20_000):
            # One row in ten is a contact; the others are bad ones that take less time to tell.
            yield b"+336%08d,Europe/Paris,web,Ann\n" % (12_000_000 + place) + b"Bea\n" * 9

    list(read_json([{"to": "+33612345678", "timezone": "Europe/Paris"}]))  # loads the tables of numbers and zones
    tracemalloc.start()
    try:
        found = {Contact: 0, BadRow: 0}
        for row in read_csv(pieces()):
            found[type(row)] += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == {Contact: 20_000, BadRow: 180_000}
    # What grows is the number and the line of each contact: 20,000 of them come to some 3 MB.
    assert peak < 6_000_000


# -- JSON ----------------------------------------------------------------------------------------------------


def test_objects_become_contacts_and_numbers_and_booleans_become_text() -> None:
    written = json.loads(
        f"""[
            {{"to": "{ADA}", "timezone": "Europe/London", "consent": "web",
              "variables": {{"name": "Ada", "age": 36, "score": 0.5, "vip": true, "note": ""}}}},
            {{"to": "{BEA}", "timezone": null, "consent": "", "variables": null}},
            {{"to": "{CLEO}"}}
        ]"""
    )
    assert list(read_json(written)) == [
        Contact(
            line=1,
            to=ADA,
            timezone="Europe/London",
            consent="web",
            variables={"name": "Ada", "age": "36", "score": "0.5", "vip": "true", "note": ""},
        ),
        contact(2, BEA),
        contact(3, CLEO),
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("+14155550142", ["must be an object"]),
        (None, ["must be an object"]),
        ({}, ["to is empty"]),
        ({"to": None}, ["to is empty"]),
        ({"to": 14155550142}, ["to must be text", "quote"]),
        ({"to": ADA, "timezone": "EDT"}, ["timezone", "America/New_York"]),
        ({"to": ADA, "timezone": 5}, ["timezone must be text"]),
        ({"to": ADA, "consent": True}, ["consent must be text"]),
        ({"to": ADA, "name": "Ada"}, ['"name" is not known', "variables"]),
        ({"to": ADA, "variables": ["a"]}, ["variables must be an object"]),
        ({"to": ADA, "variables": {"a": None}}, ['variable "a"', "text, a number"]),
        ({"to": ADA, "variables": {"a": {"b": 1}}}, ['variable "a"', "text, a number"]),
        ({"to": ADA, "variables": {"a": float("nan")}}, ['variable "a"', "text, a number"]),
        ({"to": ADA, "variables": {"a": 10**5000}}, ['variable "a"', "text, a number"]),
        ({"to": ADA, "variables": {"a": "x" * 10_001}}, ['"a"', "10,001 characters"]),
        ({"to": ADA, "variables": {"a": "\ud800"}}, ['"a"', "U+D800"]),
        ({"to": ADA, "variables": {"a\0": "x"}}, ["U+0000"]),
        ({"to": ADA, "variables": {"": "x"}}, ["no name"]),
        ({"to": ADA, "variables": {" a": "x"}}, ["blanks"]),
        ({"to": ADA, "variables": {"gateway_to": "x"}}, ["gateway_to", "rename"]),
        ({"to": 1, "timezone": "EDT", "x": 1, "variables": {"a": []}}, ["to must", "timezone", '"x"', '"a"']),
    ],
)
def test_a_bad_object_is_told_and_its_neighbours_are_read(written: Any, words: list[str]) -> None:
    rows = list(read_json([written, {"to": ADA}, {"to": ADA}]))
    assert lines(rows) == [(1, False), (2, True), (3, False)]
    assert [word for word in words if word not in bad(rows[0])] == []
    assert "repeats line 2's number" in bad(rows[2])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ADA),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["to", "timezone", "consent", "variables", "x", ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5))
def test_whatever_is_sent_each_place_gets_one_answer(written: list[Any]) -> None:
    rows = list(read_json(written))
    assert [row.line for row in rows] == list(range(1, len(written) + 1))
    # What is stored and spoken later can be encoded.
    assert all(json.dumps(row.variables, ensure_ascii=False).encode() for row in rows if isinstance(row, Contact))


# -- what is written out -------------------------------------------------------------------------------------


def test_what_a_spreadsheet_would_run_is_written_as_text() -> None:
    person: dict[str, Any] = dict.fromkeys(EXPORTED) | {
        "line": 2,
        "to": ADA,
        "text": "=HYPERLINK()",
        "assignment": None,
    }
    assert exported(person) == f"2,{ADA},,,,'=HYPERLINK(),,,,\r\n"

"""Outbound calls from the shell: one call placed, and the list of those who must not be called."""

from pathlib import Path

from tests.cli.shell import gateway
from tests.conftest import Running
from tests.outbound import TO, Outbound, outbound

__all__ = ["outbound"]

ADA, BEA = "+14155550142", "+442071838750"


async def test_a_list_is_imported_and_written_back(served: Running, tmp_path: Path) -> None:
    file, back = tmp_path / "list.csv", tmp_path / "back.csv"
    file.write_text(f"\ufeffnumber,reason\n{ADA},=1+1\n0207,x\n{BEA},said [red]stop[/red]\n", encoding="utf-8")
    code, said = await gateway(served, "suppressions", "import", str(file))
    assert (code, "2 added, 0 known already, 1 skipped" in said) == (0, True), said
    assert "line 3: number" in said
    code, said = await gateway(served, "suppressions", "export", str(back))
    assert (code, "2 numbers" in said) == (0, True), said
    assert back.read_bytes().decode() == f"number,reason\r\n{ADA},'=1+1\r\n{BEA},said [red]stop[/red]\r\n"
    code, said = await gateway(served, "suppressions", "import", str(back), "--json")
    assert (code, '"known": 2' in said) == (0, True), said
    code, said = await gateway(served, "suppressions", "list")
    assert (code, ADA in said, BEA in said) == (0, True, True)


async def test_what_cannot_be_imported_is_told(served: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("number\n0207\nnobody\n")
    code, said = await gateway(served, "suppressions", "import", str(file))
    assert (code, "no row" in said, "line 2" in said, "line 3" in said) == (1, True, True, True), said
    file.write_text("")
    code, said = await gateway(served, "suppressions", "import", str(file))
    assert (code, "the file is empty" in said) == (1, True), said
    code, said = await gateway(served, "suppressions", "import", str(tmp_path / "nowhere.csv"))
    assert (code, "nowhere.csv" in said) == (2, True), said


async def test_a_call_is_placed_with_what_a_machine_is_to_hear(outbound: Outbound) -> None:
    words = ("call", "reminders", TO, "--machine", "leave_message")
    code, said = await gateway(outbound.served, *words)
    assert (code, "leave_message needs a message" in said) == (1, True), said
    code, said = await gateway(outbound.served, *words, "--message", "Call us back.", "--detection", "sync")
    assert (code, TO in said) == (0, True), said
    assert await outbound.dialer.step() == 1
    (form,) = outbound.twilio.created
    assert (form["MachineDetection"], "AsyncAmd" in form) == ("DetectMessageEnd", False)

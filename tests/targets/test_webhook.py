"""The kind ``webhook``."""

import pytest

from .examples import HANDOFF, WRITTEN, parsed, shown, template

GIVEN = (
    "gateway_call=CA1&gateway_version=support%403&gateway_route=support&gateway_direction=inbound"
    "&gateway_from=%2B14155550100&gateway_to=%2B14155550101"
)


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["webhook"], ("persona.name", "Åsa & Kim")).render(HANDOFF)) == (
        """\
<Response>
  <Redirect method="POST">https://agents.example.com/voice?a=1&amp;b=%20&amp;gateway_call=CA1\
&amp;gateway_version=support%403&amp;gateway_route=support&amp;gateway_direction=inbound\
&amp;gateway_from=%2B14155550100&amp;gateway_to=%2B14155550101&amp;persona.name=%C3%85sa%20%26%20Kim#rc=2</Redirect>
</Response>"""
    )


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://agents.example.com", f"https://agents.example.com?{GIVEN}"),
        ("https://agents.example.com/?", f"https://agents.example.com/?{GIVEN}"),
        ("https://agents.example.com/?a=1", f"https://agents.example.com/?a=1&{GIVEN}"),
        ("https://agents.example.com/?a=1&", f"https://agents.example.com/?a=1&{GIVEN}"),
        ("https://agents.example.com/#a?b", f"https://agents.example.com/?{GIVEN}#a?b"),
    ],
)
def test_a_query_of_its_own_is_kept(url: str, asked: str) -> None:
    assert parsed(template({"kind": "webhook", "url": url}).render(HANDOFF)).findtext("Redirect") == asked

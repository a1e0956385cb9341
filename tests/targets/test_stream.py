"""The kind ``stream``."""

import pytest

from gateway.targets import TargetProblems, read_target

from .examples import HANDOFF, WRITTEN, shown, template


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["stream"], ("tone", "warm")).render(HANDOFF)) == (
        """\
<Response>
  <Connect action="https://gateway.example/twilio/next/CA1?hop=0#rc=2&amp;rp=ct,rt,5xx" method="POST">
    <Stream name="support" statusCallback="https://gateway.example/twilio/status?call=CA1#rc=5&amp;rp=all" \
statusCallbackMethod="POST" url="wss://agents.example.com/support/3">
      <Parameter name="gateway_call" value="CA1" />
      <Parameter name="gateway_version" value="support@3" />
      <Parameter name="gateway_route" value="support" />
      <Parameter name="gateway_direction" value="inbound" />
      <Parameter name="gateway_from" value="+14155550100" />
      <Parameter name="gateway_to" value="+14155550101" />
      <Parameter name="prompt" value="a &quot;b&quot; &amp; &lt;c&gt;" />
      <Parameter name="persona.name" value="Åsa {0} %s" />
      <Parameter name="tone" value="warm" />
    </Stream>
  </Connect>
</Response>"""
    )


@pytest.mark.parametrize("rest", ["?token=1", "?", "/x?a=b#c"])
def test_a_query_string_is_refused(rest: str) -> None:
    with pytest.raises(TargetProblems, match="Twilio drops the query string of a stream: write it under parameters"):
        read_target({"kind": "stream", "url": f"wss://agents.example.com{rest}"})


def test_a_fragment_is_refused() -> None:
    with pytest.raises(TargetProblems, match="a websocket has no fragment"):
        read_target({"kind": "stream", "url": "wss://agents.example.com/#rc=2"})

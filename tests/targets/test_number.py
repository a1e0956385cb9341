"""The kind ``number``."""

from .examples import HANDOFF, WRITTEN, shown, template


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["number"]).render(HANDOFF)) == (
        """\
<Response>
  <Dial action="https://gateway.example/twilio/next/CA1?hop=0#rc=2&amp;rp=ct,rt,5xx" answerOnBridge="true" \
callerId="+14155550100" method="POST" timeout="25">
    <Number statusCallback="https://gateway.example/twilio/status?call=CA1#rc=5&amp;rp=all" \
statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST">+14155550199</Number>
  </Dial>
</Response>"""
    )


def test_a_later_hop_is_told_apart() -> None:
    assert shown(template({"kind": "number", "to": "+14155550199"}).render(HANDOFF._replace(hop=2))) == (
        """\
<Response>
  <Dial action="https://gateway.example/twilio/next/CA1?hop=2#rc=2&amp;rp=ct,rt,5xx" answerOnBridge="true" \
method="POST">
    <Number statusCallback="https://gateway.example/twilio/status?call=CA1&amp;hop=2#rc=5&amp;rp=all" \
statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST">+14155550199</Number>
  </Dial>
</Response>"""
    )

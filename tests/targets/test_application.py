"""The kind ``application``."""

from .examples import HANDOFF, WRITTEN, shown, template


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["application"]).render(HANDOFF)) == (
        """\
<Response>
  <Dial action="https://gateway.example/twilio/next/CA1?hop=0#rc=2&amp;rp=ct,rt,5xx" answerOnBridge="true" \
method="POST">
    <Application statusCallback="https://gateway.example/twilio/status?call=CA1#rc=5&amp;rp=all" \
statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST">
      <ApplicationSid>AP00000000000000000000000000000000</ApplicationSid>
      <Parameter name="gateway_call" value="CA1" />
      <Parameter name="gateway_version" value="support@3" />
      <Parameter name="gateway_route" value="support" />
      <Parameter name="gateway_direction" value="inbound" />
      <Parameter name="gateway_from" value="+14155550100" />
      <Parameter name="gateway_to" value="+14155550101" />
      <Parameter name="tone" value="warm" />
    </Application>
  </Dial>
</Response>"""
    )

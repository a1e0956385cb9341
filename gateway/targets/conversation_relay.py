"""A target that talks in text over a websocket, while Twilio listens and speaks: ConversationRelay."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.model import Parameters
from gateway.targets.address import web_address
from gateway.targets.kind import Complaint, EndsBy, Handed, Kind, Text, carried, response
from gateway.targets.parameters import too_long


def _url(url: str) -> str:
    web_address(url, "wss")
    if "#" in url:
        raise ValueError("a websocket has no fragment: drop what follows the #")
    return url


def _switch(value: Any) -> Any:
    if not isinstance(value, bool | str) or value == "":
        raise ValueError('must be true, false, or a word such as "speech"')
    return value if isinstance(value, bool) else carried(value)


Switch = Annotated[Any, AfterValidator(_switch)]
"""What Twilio takes as true, false or a word; the words are more at every release, and so are not listed here."""


class Language(BaseModel):
    """One more language a session may switch to, as ``<Language>`` has it in twilio 9.13."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Text
    tts_provider: Text | None = None
    voice: Text | None = None
    transcription_provider: Text | None = None
    speech_model: Text | None = None
    hints: Text | None = None
    asr_smart_format: bool | None = None
    tts_text_normalization: Text | None = None
    tts_language_text_normalization: bool | None = None


class ConversationRelay(Kind):
    """``{ kind = "conversation_relay", url = "wss://…", welcome_greeting = "…" }``.

    The keys are the attributes of ``<ConversationRelay>`` in twilio 9.13, in snake case.
    """

    ends_by: ClassVar[EndsBy] = "relay"

    url: Annotated[str, AfterValidator(_url)]
    welcome_greeting: Text | None = None
    welcome_greeting_interruptible: Switch = None
    language: Text | None = None
    tts_language: Text | None = None
    tts_provider: Text | None = None
    voice: Text | None = None
    tts_text_normalization: Text | None = None
    tts_language_text_normalization: bool | None = None
    elevenlabs_text_normalization: Text | None = None
    transcription_language: Text | None = None
    transcription_provider: Text | None = None
    speech_model: Text | None = None
    speech_timeout: Text | None = None
    hints: Text | None = None
    profanity_filter: bool | None = None
    asr_smart_format: bool | None = None
    deepgram_smart_format: bool | None = None
    background_noise_reduction: Switch = None
    interruptible: Switch = None
    interrupt_sensitivity: Text | None = None
    ignore_backchannel: bool | None = None
    preemptible: bool | None = None
    report_input_during_agent_speech: Switch = None
    partial_prompts: bool | None = None
    partial_prompt_on_hangup: bool | None = None
    include_in_prompt: Text | None = None
    eager_eot_threshold: float | None = None
    turn_detection: Switch = None
    echo_prompt_filtering: bool | None = None
    dtmf_detection: bool | None = None
    application_reconnect: bool | None = None
    intelligence_service: Text | None = None
    customer_name: Text | None = None
    events: Text | None = None
    debug: Text | None = None
    languages: list[Language] = Field(default_factory=list)

    def twiml(self, handed: Handed) -> Any:
        """``<Connect><ConversationRelay>`` with its languages and parameters."""
        answer = response()
        attributes = self.model_dump(exclude={"languages"}, exclude_none=True)
        relay = answer.connect(action=handed.action, method="POST").conversation_relay(**attributes)
        for language in self.languages:
            relay.language(**language.model_dump(exclude_none=True))
        for name, value in handed.parameters:
            relay.parameter(name=name, value=value)
        return answer

    def complaints(self, parameters: Parameters) -> list[Complaint]:
        """Parameters that are too long."""
        return too_long(parameters)

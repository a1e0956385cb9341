"""What Prometheus is told, read off the gateway when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.analysis import Counters
from gateway.wiring import Gateway

Family = CounterMetricFamily | GaugeMetricFamily


def exposition(gateway: Gateway) -> bytes:
    """The text of ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(_Meters(gateway))
    return generate_latest(registry)


class _Meters(Collector):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Family]:
        """Every meter with its value of this moment."""
        gateway, told = self._gateway, self._gateway.ledger.counters
        counted = (
            ("gateway_voice_webhooks", "Voice webhooks answered with TwiML", gateway.answered),
            ("gateway_signatures_refused", "Webhooks refused for their signature", gateway.refused),
            ("gateway_written", "Entries committed to the database", told.written),
            ("gateway_batches", "Transactions that wrote them", told.batches),
            ("gateway_journalled", "Entries sent to the journal", told.journalled),
            ("gateway_replayed", "Journal entries brought over to the database", told.replayed),
            ("gateway_notices_sent", "Notices that a receiver took", gateway.notifier.sent),
            ("gateway_notices_failed", "Notices that a receiver never took", gateway.notifier.failed),
            ("gateway_unlogged", "Entries that neither database nor journal took", told.unlogged),
        )
        for name, text, value in counted:
            yield CounterMetricFamily(name, text + " since the start", value=value)
        publication = gateway.state.snapshot.publication
        yield GaugeMetricFamily("gateway_publication", "Number of the publication that serves", value=publication)
        if gateway.analysis is not None:
            yield from _judging(gateway.analysis.counters)


def _judging(told: Counters) -> Iterator[Family]:
    counted: tuple[tuple[str, str, float], ...] = (
        ("gateway_judged", "Transcripts judged", told.judged),
        ("gateway_judge_unknown", "Verdicts that the judge could not give", told.unknown),
        ("gateway_judge_failed", "Transcripts given up unjudged", told.failed),
        ("gateway_judge_tokens_in", "Tokens sent to the judge", told.tokens_in),
        ("gateway_judge_tokens_out", "Tokens received from the judge", told.tokens_out),
        ("gateway_judge_cost", "What they cost at the prices of the settings", told.cost),
    )
    for name, text, value in counted:
        yield CounterMetricFamily(name, text + " since the start", value=value)
    yield GaugeMetricFamily("gateway_judge_waiting", "Transcripts that wait for a judge", value=told.waiting)

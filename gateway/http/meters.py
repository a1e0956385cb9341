"""What Prometheus is told, read off the gateway when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

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

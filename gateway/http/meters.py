"""What is counted for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

REGISTRY = CollectorRegistry()

VOICE = Counter("gateway_voice_webhooks", "Voice webhooks answered with TwiML", registry=REGISTRY)
REFUSED = Counter("gateway_signatures_refused", "Webhooks refused for their signature", registry=REGISTRY)
JOURNALLED = Gauge("gateway_journalled", "Entries sent to the journal since the start", registry=REGISTRY)
UNLOGGED = Gauge("gateway_unlogged", "Entries that neither database nor journal took", registry=REGISTRY)
WRITTEN = Gauge("gateway_written", "Entries committed to the database since the start", registry=REGISTRY)
BATCHES = Gauge("gateway_batches", "Transactions that wrote them", registry=REGISTRY)
PUBLICATION = Gauge("gateway_publication", "Number of the publication that serves", registry=REGISTRY)

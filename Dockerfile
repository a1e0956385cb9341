# The gateway as a container: `docker build -t gateway .`, then
# `docker run -p 8080:8080 -v gateway:/data -e TWILIO_AUTH_TOKEN -e GATEWAY_AUTH__ADMIN_TOKEN -e GATEWAY_SERVER__PUBLIC_URL gateway`
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_SERVER__HOST=0.0.0.0 \
    GATEWAY_DATABASE__URL=sqlite:////data/gateway.db \
    GATEWAY_PATHS__DATA=/data \
    GATEWAY_LOG__FORMAT=json

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY gateway gateway
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
COPY config config
COPY routes routes

RUN useradd --system --uid 10001 --no-create-home gateway && install -d -o gateway /data
USER gateway
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["gateway", "serve"]

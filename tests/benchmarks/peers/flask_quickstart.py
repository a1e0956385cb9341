"""What a sensible developer writes in an afternoon with Flask: check, toss a coin, store the row, answer TwiML."""

# mypy: ignore-errors
# Flask is installed for the benchmark only, and a quickstart is written without types.

import os
import random
import sqlite3
import threading
import time

from flask import Flask, Response, abort, request
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, VoiceResponse

URL = os.environ["PUBLIC_URL"] + "/twilio/voice"
AGENTS = {"a": "wss://agents.example.com/support/1", "b": "wss://agents.example.com/support/2"}

app = Flask(__name__)
validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])
local = threading.local()


def database():
    """The connection of this thread. ``synchronous`` stays at SQLite's default, FULL, as in the gateway."""
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(os.environ["DATABASE"], timeout=10)
        local.connection.execute("PRAGMA journal_mode=WAL")
        local.connection.execute(
            "CREATE TABLE IF NOT EXISTS call"
            " (id TEXT PRIMARY KEY, caller TEXT NOT NULL, called TEXT NOT NULL, arm TEXT NOT NULL, at REAL NOT NULL)"
        )
    return local.connection


@app.post("/twilio/voice")
def voice():
    """Answer one call; the row is committed before the answer goes out."""
    if not validator.validate(URL, request.form, request.headers.get("X-Twilio-Signature", "")):
        abort(403)
    arm = random.choice("ab")
    with database() as connection:
        connection.execute(
            "INSERT INTO call VALUES (?, ?, ?, ?, ?)",
            (request.form["CallSid"], request.form["From"], request.form["To"], arm, time.time()),
        )
    response = VoiceResponse()
    connect = Connect()
    connect.stream(url=AGENTS[arm]).parameter(name="arm", value=arm)
    response.append(connect)
    return Response(str(response), mimetype="text/xml")


@app.get("/readyz")
def ready():
    """Say that calls are taken."""
    database()
    return Response()

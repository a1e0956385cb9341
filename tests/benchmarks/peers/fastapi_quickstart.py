"""The same quickstart in FastAPI with aiosqlite: check, toss a coin, store the row, answer TwiML."""

# mypy: ignore-errors
# FastAPI is installed for the benchmark only, and a quickstart is written without types.

import os
import random
import time
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import aiosqlite
from fastapi import FastAPI, HTTPException, Request, Response
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, VoiceResponse

URL = os.environ["PUBLIC_URL"] + "/twilio/voice"
AGENTS = {"a": "wss://agents.example.com/support/1", "b": "wss://agents.example.com/support/2"}

validator = RequestValidator(os.environ["TWILIO_AUTH_TOKEN"])


@asynccontextmanager
async def lifespan(app):
    """Hold one connection. ``synchronous`` stays at SQLite's default, FULL, as in the gateway.

    Statements commit one by one, so that requests which share the connection do not share a transaction.
    """
    async with aiosqlite.connect(os.environ["DATABASE"], timeout=10, isolation_level=None) as connection:
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS call"
            " (id TEXT PRIMARY KEY, caller TEXT NOT NULL, called TEXT NOT NULL, arm TEXT NOT NULL, at REAL NOT NULL)"
        )
        app.state.database = connection
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/twilio/voice")
async def voice(request: Request):
    """Answer one call; the row is committed before the answer goes out."""
    form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    if not validator.validate(URL, form, request.headers.get("X-Twilio-Signature", "")):
        raise HTTPException(403)
    arm = random.choice("ab")
    await request.app.state.database.execute(
        "INSERT INTO call VALUES (?, ?, ?, ?, ?)",
        (form["CallSid"], form["From"], form["To"], arm, time.time()),
    )
    response = VoiceResponse()
    connect = Connect()
    connect.stream(url=AGENTS[arm]).parameter(name="arm", value=arm)
    response.append(connect)
    return Response(str(response), media_type="text/xml")


@app.get("/readyz")
async def ready():
    """Say that calls are taken."""
    return Response()

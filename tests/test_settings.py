"""What an operator may set, what is refused and in which words, and that no secret ever shows."""

import json
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.errors import Invalid
from gateway.model import NoticeKind
from gateway.settings import (
    KEYS,
    NESTED,
    Log,
    Receiver,
    Settings,
    environment_name,
    is_loopback,
    load_settings,
    parse_duration,
    read_hours,
    read_signing_key,
)
from tests.conftest import WEBHOOK_SECRET

ROOT = Path(__file__).parent.parent
TOKEN = {"TWILIO_AUTH_TOKEN": "canary-token"}

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings from the text of a file; a Twilio token is there unless ``environ`` is given."""

    def _load(text: str = "", environ: Mapping[str, str] = TOKEN, **options: bool) -> Settings:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return load_settings(path, environ, **options)

    return _load


def _problems(load: Load, *args: Any, **options: bool) -> dict[str, str]:
    """Each problem's text by its place and key; the file is always called ``gateway.toml``."""
    with pytest.raises(Invalid) as caught:
        load(*args, **options)
    found = {f"{Path(p.place).name} {p.path}".strip(): p.text for p in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


# Where values come from


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ=TOKEN)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.server.public_url == "http://127.0.0.1:8080"
    assert settings.database.url.get_secret_value() == "sqlite:///data/gateway.db"
    assert settings.outbound.allowed_countries == ()
    assert settings.experiments.outcome_window == 3600
    assert settings.retention.events is None


def test_the_default_file_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/gateway.toml").write_text("[server]\nport = 9001\n")
    (tmp_path / "other.toml").write_text("[server]\nport = 9002\n")
    assert load_settings(environ=TOKEN).server.port == 9001
    assert load_settings(environ={**TOKEN, "GATEWAY_CONFIG": "other.toml"}).server.port == 9002
    assert load_settings(Path("config/gateway.toml"), {**TOKEN, "GATEWAY_CONFIG": "other.toml"}).server.port == 9001


def test_the_process_environment_is_read_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "t")
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "9003")
    assert load_settings().server.port == 9003


def test_the_environment_wins_over_the_file(load: Load) -> None:
    text = '[server]\nport = 1\nhost = "localhost"\n[outbound]\nallowed_countries = ["US"]\n'
    settings = load(
        text,
        {
            **TOKEN,
            "GATEWAY_SERVER__PORT": "9000",
            "GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["GB", "FR"]',
            "GATEWAY_OUTBOUND__CALLS_PER_SECOND": "2.5",
            "GATEWAY_VOICE__FALLBACK": '{"kind": "number", "to": "+14155550199"}',
        },
    )
    assert (settings.server.host, settings.server.port) == ("localhost", 9000)
    assert settings.outbound.allowed_countries == ("GB", "FR")
    assert settings.outbound.calls_per_second == 2.5
    assert settings.voice.fallback == {"kind": "number", "to": "+14155550199"}


def test_the_ecosystems_names_lose_to_our_own_and_win_over_the_file(load: Load) -> None:
    text = '[twilio]\naccount_sid = "ACfile"\n'
    environ = {"TWILIO_ACCOUNT_SID": "ACeco", "TWILIO_AUTH_TOKEN": "eco"}
    assert load(text, TOKEN).twilio.account_sid == "ACfile"
    assert load(text, environ).twilio.signing_keys()[0] == {"ACeco": ("eco",)}
    own = {**environ, "GATEWAY_TWILIO__ACCOUNT_SID": "ACown", "GATEWAY_TWILIO__AUTH_TOKEN": "own"}
    assert load(text, own).twilio.signing_keys()[0] == {"ACown": ("own",)}
    # Compose files hand on variables that nobody set as empty ones.
    assert load(text, {**TOKEN, "TWILIO_ACCOUNT_SID": ""}).twilio.account_sid == "ACfile"


def test_the_clients_variables_are_no_settings(load: Load) -> None:
    load("", {**TOKEN, "GATEWAY_URL": "http://127.0.0.1:1", "GATEWAY_TOKEN": "t", "GATEWAYS": "3"})


def test_the_public_url_follows_the_port(load: Load) -> None:
    assert load("", {**TOKEN, "GATEWAY_SERVER__PORT": "9000"}).server.public_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_can_be_overridden_by_its_variable(key: str, load: Load) -> None:
    """A value that no key takes is refused under the variable's own name, so the variable was heard."""
    name = environment_name(key)
    assert f"{name} {key}" in _problems(load, "", {**TOKEN, name: " "})


# What is refused, and in which words


def test_every_problem_is_reported_at_once_with_its_place(load: Load) -> None:
    found = _problems(
        load,
        """
        port = 8080
        [server]
        prot = 1
        port = 99999
        [outbound]
        calls_per_second = 0
        window = "20:00-09:00"
        [servr]
        host = "127.0.0.1"
        [[twilio.accounts]]
        sid = "AC 1"
        auth_token = "env:T"
        """,
        {"GATEWAY_LOG__LEVEL": "loud", "GATEWAY_SERVER_PORT": "1", "GATEWAY_LOG__FROMAT": "json"},
    )
    assert found == {
        "GATEWAY_LOG__FROMAT": "is not a setting; did you mean GATEWAY_LOG__FORMAT?",
        "GATEWAY_SERVER_PORT": "is not a setting; did you mean GATEWAY_SERVER__PORT?",
        "gateway.toml port": "is not a setting; did you mean server.port?",
        "gateway.toml servr": "is not a setting; did you mean server?",
        "gateway.toml server.prot": "is not a setting; did you mean server.port?",
        "gateway.toml server.port": "should be less than or equal to 65535",
        "gateway.toml outbound.calls_per_second": "should be greater than or equal to 0.001",
        "gateway.toml outbound.window": "should be two times of one day, the earlier one first; "
        'it cannot cross midnight: write such as "09:00-20:00", or "always"',
        "gateway.toml twilio.accounts.0.sid": 'should be a sid such as "AC…": up to 128 letters, digits and : _ . -',
        "gateway.toml twilio.accounts.0.auth_tokens": "is missing; set it",
        "gateway.toml twilio.accounts.0.auth_token": "names the environment variable T, which is not set;"
        " set it or remove the key",
        "GATEWAY_LOG__LEVEL log.level": "should be 'debug', 'info', 'warning' or 'error'",
    }


def test_a_key_that_resembles_nothing_is_to_be_removed(load: Load) -> None:
    assert _problems(load, "[log]\nzzzzzzzz = 1\n") == {"gateway.toml log.zzzzzzzz": "is not a setting; remove it"}


@pytest.mark.parametrize(
    ("text", "key", "cure"),
    [
        ("[server]\nport = true.5\n", "", "is not TOML"),
        ("server = 3\n", "server", "should be a table"),
        ("[[server]]\nport = 1\n", "server", "should be a table"),
        ('[server]\nport = "http"\n', "server.port", "valid integer"),
        ('[outbound]\nallowed_countries = "US"\n', "outbound.allowed_countries", "should be a list"),
        ('[outbound]\nallowed_countries = ["UK"]\n', "outbound.allowed_countries.0", '"GB"'),
        ('[outbound]\nallowed_countries = ["us"]\n', "outbound.allowed_countries.0", "capital"),
        ("[outbound]\ncalls_per_second = inf\n", "outbound.calls_per_second", "finite"),
        ("[outbound]\nreserve_inbound = 10\n", "outbound.reserve_inbound", "outbound.max_concurrent"),
        ("[experiments]\noutcome_window = 3600\n", "experiments.outcome_window", '"1h"'),
        ('[experiments]\noutcome_window = "1 hour"\n', "experiments.outcome_window", '"1h"'),
        ("[retention]\nevents = 0\n", "retention.events", "greater than or equal to 1"),
        ('[auth]\nexperiments_role = "viewer"\n', "auth.experiments_role", "'editor' or 'admin'"),
        ('[voice]\nfallback = "+14155550199"\n', "voice.fallback", "should be a table"),
        ('[voice]\nunrouted = ""\n', "voice.unrouted", "is empty"),
        ('[twilio]\napi_key_sid = "SK1"\n', "twilio.api_key_secret", "together"),
        ('[database]\nurl = "mysql://db/gateway"\n', "database.url", "postgresql://"),
        ('[database]\nurl = "sqlite:///"\n', "database.url", "sqlite:///path"),
        ('[database]\nurl = "postgresql+asyncpg://db/gateway"\n', "database.url", "postgresql://"),
    ],
)
def test_a_wrong_value_is_refused_with_its_cure(text: str, key: str, cure: str, load: Load) -> None:
    ((place, said),) = _problems(load, text).items()
    assert place == f"gateway.toml {key}".strip()
    assert cure in said


def test_an_api_key_secret_wants_its_sid(load: Load) -> None:
    found = _problems(load, "", {**TOKEN, "GATEWAY_TWILIO__API_KEY_SECRET": "s"})
    assert list(found) == ["gateway.toml twilio.api_key_sid"]


def test_a_broken_file_does_not_hide_what_is_wrong_in_the_environment(load: Load) -> None:
    found = _problems(load, "[server", {"GATEWAY_LOG__LEVEL": "loud"})
    assert list(found) == ["gateway.toml", "GATEWAY_LOG__LEVEL log.level"]


def test_broken_json_in_a_variable_is_named(load: Load) -> None:
    found = _problems(load, "", {**TOKEN, "GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["US"'})
    assert "as JSON" in found["GATEWAY_OUTBOUND__ALLOWED_COUNTRIES outbound.allowed_countries"]


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere.toml")
    for path, environ in ((Path(missing), TOKEN), (None, {**TOKEN, "GATEWAY_CONFIG": missing})):
        with pytest.raises(Invalid) as caught:
            load_settings(path, environ)
        (problem,) = caught.value.problems
        assert problem.place == missing
        assert "No such file" in problem.text


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b'[voice]\nunrouted = "Gr\xfc\xdfe"\n')
    with pytest.raises(Invalid) as caught:
        load_settings(path, TOKEN)
    assert [p.text for p in caught.value.problems] == ["is not UTF-8 text; save it as UTF-8"]


GOOD_URLS = (
    "https://calls.example.com",
    "https://calls.example.com:8443/gateway/v1",
    "http://127.0.0.1:8080",
    "http://127.9.9.9",
    "http://localhost:8080/prefix",
    "http://[::1]:8080",
)
BAD_URLS = (
    ("https://calls.example.com/", 'drop the "/"'),
    ("https://calls.example.com/prefix/", 'drop the "/"'),
    ("http://calls.example.com", "use https"),
    ("http://localhost.example.com", "use https"),
    ("http://0.0.0.0:8080", "use https"),
    ("https://calls.example.com?", "leave out everything"),
    ("https://calls.example.com?a=b", "leave out everything"),
    ("https://calls.example.com#", "leave out everything"),
    ("https://me:canary@calls.example.com", "leave out user and password"),
    ("HTTPS://calls.example.com", "should be a URL"),
    ("ftp://calls.example.com", "should be a URL"),
    ("https:calls.example.com", "should be a URL"),
    ("https://", "should be a URL"),
    ("https://:8080", "should be a URL"),
    ("https://calls.example.com:", "should be a URL"),
    ("https://calls.example.com:canary", "should be a URL"),
    ("https://calls.example.com:99999", "should be a URL"),
    ("https://calls example.com", "should be a URL"),
    ("https://calls.example.com\n", "should be a URL"),
    ("https://calls.exämple.com", "should be a URL"),
    ("https://[::1", "should be a URL"),
    ("calls.example.com", "should be a URL"),
)


@pytest.mark.parametrize("key", ["server.public_url", "twilio.api_base_url"])
def test_a_base_url_is_taken_as_it_is_or_refused(key: str, load: Load) -> None:
    section, name = key.split(".")
    variable = environment_name(key)
    for url in GOOD_URLS:
        assert getattr(getattr(load("", {**TOKEN, variable: url}), section), name) == url
    for url, cure in BAD_URLS:
        said = _problems(load, "", {**TOKEN, variable: url})[f"{variable} {key}"]
        assert cure in said, url
        assert "canary" not in said


@given(st.text(max_size=40))
def test_no_text_breaks_the_check_of_a_url(text: str) -> None:
    for url in (text, f"https://{text}", f"http://127.0.0.1{text}"):
        try:
            settings = load_settings(ROOT / "config/gateway.toml", {**TOKEN, "GATEWAY_SERVER__PUBLIC_URL": url})
        except Invalid:
            continue
        assert settings.server.public_url == url
        assert re.fullmatch(r"https?://[!-~]*[^/?#]", url)


# Secrets

SECRET_FILE = """
[database]
url = "env:DATABASE"
[twilio]
account_sid = "AC1"
auth_token = "env:PRIMARY"
secondary_auth_token = "env:SECONDARY"
api_key_sid = "SK1"
api_key_secret = "env:KEY"
accounts = [{ sid = "AC2", auth_tokens = ["env:SUB1", "env:SUB2"] }]
shared_keys = { webhooks_1 = "env:SHARED" }
[notifications.receivers.ops]
url = "https://ops.example.com/hooks?key=canary"
secret = "env:OPS"
[auth]
admin_token = "env:ADMIN"
"""
SECRETS = {
    name: f"canary-{name.lower()}" for name in ("PRIMARY", "SECONDARY", "KEY", "SUB1", "SUB2", "SHARED", "ADMIN")
}
SECRETS["OPS"] = WEBHOOK_SECRET
ENVIRON = {**SECRETS, "DATABASE": "postgresql://gateway:canary-database@db.example.com/gateway"}


def test_env_names_a_variable(load: Load) -> None:
    settings = load(SECRET_FILE, ENVIRON)
    assert settings.auth.admin_token is not None
    assert settings.auth.admin_token.get_secret_value() == "canary-admin"
    assert settings.database.url.get_secret_value() == ENVIRON["DATABASE"]
    assert settings.twilio.signing_keys() == (
        {"AC1": ("canary-primary", "canary-secondary"), "AC2": ("canary-sub1", "canary-sub2")},
        (),
        {"webhooks_1": "canary-shared"},
    )


def test_env_works_for_any_value_and_inside_json(load: Load) -> None:
    accounts = '[{"sid": "AC2", "auth_tokens": ["env:SUB", "plain"]}]'
    settings = load(
        '[server]\nport = "env:PORT"\n', {"PORT": "9000", "SUB": "sub", "GATEWAY_TWILIO__ACCOUNTS": accounts}
    )
    assert settings.server.port == 9000
    assert settings.twilio.signing_keys() == ({"AC2": ("sub", "plain")}, (), {})


def test_a_fallbacks_names_are_left_to_the_check_of_targets(load: Load) -> None:
    fallback = {"kind": "sip", "uri": "sip:a@b.example.com", "password": "env:NOT_SET"}
    text = '[voice]\nfallback = { kind = "sip", uri = "sip:a@b.example.com", password = "env:NOT_SET" }\n'
    assert load(text).voice.fallback == fallback


def test_the_newline_that_secrets_end_in_is_dropped(load: Load) -> None:
    assert load("", {"TWILIO_AUTH_TOKEN": "token\n"}).twilio.signing_keys() == ({}, ("token",), {})


def test_a_missing_or_empty_variable_is_named_once(load: Load) -> None:
    found = _problems(
        load, '[auth]\nadmin_token = "env:NOPE"\n[server]\nport = "env:EMPTY"\n', {**TOKEN, "EMPTY": ""}
    )
    assert found == {
        "gateway.toml auth.admin_token": "names the environment variable NOPE,"
        " which is not set; set it or remove the key",
        "gateway.toml server.port": "is empty; give it a value or remove it",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_written_into_the_file_is_refused_without_repeating_it(name: str, load: Load) -> None:
    text = SECRET_FILE.replace(f"env:{name}", SECRETS[name])
    ((place, said),) = _problems(load, text, ENVIRON).items()
    assert place.startswith(("gateway.toml twilio.", "gateway.toml auth.", "gateway.toml notifications."))
    assert "env:NAME" in said
    assert "canary" not in said
    load(SECRET_FILE, ENVIRON)  # The same file passes without it.


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:canary@db/gateway",
        "postgresql://gateway:ca/na@ry@db/gateway",
        "postgresql://db/gateway?user=gateway&password=canary",
    ],
)
def test_a_password_in_the_files_database_url_is_refused(url: str, load: Load) -> None:
    said = _problems(load, f'[database]\nurl = "{url}"\n')["gateway.toml database.url"]
    assert "env:NAME" in said
    assert "canary" not in said
    load("", {**TOKEN, "GATEWAY_DATABASE__URL": url})
    load('[database]\nurl = "postgresql://gateway@db:5432/gateway"\n')


def test_no_secret_shows_in_any_form_of_the_settings(load: Load) -> None:
    settings = load(SECRET_FILE, ENVIRON)
    shown = [repr(settings), str(settings), str(settings.twilio), repr(settings.twilio.accounts)]
    shown += [
        repr(settings.model_dump()),
        settings.model_dump_json(),
        repr(settings.describe()),
        repr(vars(settings)),
    ]
    for text in shown:
        assert "canary" not in text
    assert "canary" in str(settings.secrets())


def test_no_secret_shows_in_an_error(load: Load) -> None:
    """Each canary stands where it does not belong: under unknown keys, wrong types, wrong URLs, bad JSON."""
    text = """
    [twilio]
    auth_tokn = "canary-1"
    api_base_url = "https://canary-2:x@y.example.com/"
    accounts = [{ sid = "canary 3", auth_tokens = "canary-4" }]
    [auth]
    admin_token = ["canary-5"]
    experiments_role = "canary-6"
    [log]
    level = { canary = "canary-7" }
    """
    environ = {
        "GATEWAY_TWILIO__SHARED_KEYS": '{"a": "canary-8"',
        "GATEWAY_DATABASE__URL": "mysql://u:canary-9@h/d",
        "GATEWAY_SERVER__PORT": "canary-10",
        "GATEWAY_TWILIO__AUTHTOKEN": "canary-11",
    }
    with pytest.raises(Invalid) as caught:
        load(text, environ)
    told = [*map(str, caught.value.problems), repr(caught.value), json.dumps(caught.value.as_json())]
    told += traceback.format_exception(caught.value)
    assert len(caught.value.problems) == 11
    assert "canary" not in "\n".join(told)


def test_the_secrets_for_the_log_are_all_of_them(load: Load) -> None:
    assert sorted(load(SECRET_FILE, ENVIRON).secrets()) == sorted(
        [*SECRETS.values(), "canary-database", "https://ops.example.com/hooks?key=canary"]
    )


def test_tokens_without_an_account_hold_for_any(load: Load) -> None:
    environ = {"TWILIO_AUTH_TOKEN": "one", "GATEWAY_TWILIO__SECONDARY_AUTH_TOKEN": "two"}
    assert load("", environ).twilio.signing_keys() == ({}, ("one", "two"), {})


def test_an_account_listed_twice_has_the_tokens_of_both(load: Load) -> None:
    accounts = '[{"sid": "AC1", "auth_tokens": ["two"]}, {"sid": "AC1", "auth_tokens": ["three"]}]'
    environ = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "one", "GATEWAY_TWILIO__ACCOUNTS": accounts}
    assert load("", environ).twilio.signing_keys()[0] == {"AC1": ("one", "two", "three")}


# Who is told


def receiver(load: Load, **changes: Any) -> Settings:
    told = {"url": "https://ops.example.com/hooks", "secret": "env:OPS"} | changes
    environ = {"GATEWAY_NOTIFICATIONS__RECEIVERS": json.dumps({"ops": told}), "OPS": WEBHOOK_SECRET}
    return load("", TOKEN | environ)


def test_a_receiver_is_told_of_everything_unless_it_says_otherwise(load: Load) -> None:
    assert receiver(load).notifications.receivers["ops"].events == get_args(NoticeKind)
    some = ["campaign.paused", "experiment.alarm"]
    assert receiver(load, events=some).notifications.receivers["ops"].events == tuple(some)
    assert read_signing_key(WEBHOOK_SECRET) == b"canary-for-the-signing-key!"


@pytest.mark.parametrize(
    ("changes", "key", "cure"),
    [
        ({"url": "http://ops.example.com/hooks"}, "url", "use https"),
        ({"url": "http://169.254.169.254/hooks"}, "url", "use https"),
        ({"url": "https://me:canary@ops.example.com"}, "url", "leave out user and password"),
        ({"url": "https://ops.example.com#canary"}, "url", 'leave out everything from "#" on'),
        ({"url": "ftp://ops.example.com/canary"}, "url", "should be a URL"),
        ({"secret": "canary"}, "secret", "openssl rand"),
        ({"secret": "whsec_Y2FuYXJ5"}, "secret", "openssl rand"),
        ({"secret": WEBHOOK_SECRET + "!"}, "secret", "openssl rand"),
        ({"events": ["campaign.canary"]}, "events.0", "campaign.paused"),
        ({"secrt": "env:OPS"}, "secrt", "did you mean notifications.receivers.ops.secret?"),
    ],
)
def test_a_wrong_receiver_is_refused_with_its_cure(changes: dict[str, Any], key: str, cure: str, load: Load) -> None:
    with pytest.raises(Invalid) as caught:
        receiver(load, **changes)
    (problem,) = caught.value.problems
    assert (problem.path, cure in problem.text) == (f"notifications.receivers.ops.{key}", True), problem
    assert key == "events.0" or "canary" not in str(problem)


def test_a_receiver_may_be_anywhere_on_loopback_and_have_a_query(load: Load) -> None:
    for url in ("http://127.0.0.1:9/hooks", "https://10.0.0.1/hooks/?key=1"):
        assert receiver(load, url=url).notifications.receivers["ops"].url.get_secret_value() == url
    text = '[notifications.receivers."Ops 1"]\nurl = "https://ops.example.com"\nsecret = "env:OPS"\n'
    ((place, said),) = _problems(load, text, TOKEN | {"OPS": WEBHOOK_SECRET}).items()
    assert ("receivers.Ops 1" in place, "small letters" in said) == (True, True)


# Starting without a token


def test_without_a_token_nothing_starts(load: Load) -> None:
    said = _problems(load, '[twilio]\naccount_sid = "AC1"\n', {})["gateway.toml twilio.auth_token"]
    assert "TWILIO_AUTH_TOKEN" in said
    assert "--insecure-dev" in said


@pytest.mark.parametrize(
    "environ",
    [
        {"TWILIO_AUTH_TOKEN": "t"},
        {"GATEWAY_TWILIO__SECONDARY_AUTH_TOKEN": "t"},
        {"GATEWAY_TWILIO__ACCOUNTS": '[{"sid": "AC1", "auth_tokens": ["t"]}]'},
        {"GATEWAY_TWILIO__SHARED_KEYS": '{"webhooks_1": "t"}'},
    ],
)
def test_anything_to_check_signatures_with_is_enough(environ: dict[str, str], load: Load) -> None:
    assert any(load("", environ).twilio.signing_keys())


def test_insecure_dev_starts_without_a_token_on_loopback(load: Load) -> None:
    assert not any(load("", {}, insecure_dev=True).twilio.signing_keys())
    load('[server]\nhost = "::1"\npublic_url = "http://localhost:8080"\n', {}, insecure_dev=True)


@pytest.mark.parametrize("environ", [{}, TOKEN])
def test_insecure_dev_is_refused_where_others_can_call(environ: dict[str, str], load: Load) -> None:
    text = '[server]\nhost = "0.0.0.0"\npublic_url = "https://calls.example.com"\n'
    found = _problems(load, text, environ, insecure_dev=True)
    assert list(found) == ["gateway.toml server.host", "gateway.toml server.public_url"]
    assert all("loopback" in said for said in found.values())


# Judges

MODEL = '[analysis]\njudge = "llm"\n[analysis.llm]\nbase_url = "https://llm.example.com/v1"\nmodel = "m"\n'
ASKED = '[[analysis.criteria]]\nname = "solved"\nquestion = "Solved?"\n'


def test_nobody_judges_by_default(load: Load) -> None:
    assert load().analysis.judge == "none"
    assert load('[analysis]\njudge = "local"\n').analysis.judge == "local"


def test_a_model_and_its_questions_are_read(load: Load) -> None:
    text = MODEL + 'api_key = "env:KEY"\ntimeout = "45s"\n' + ASKED + 'as = "success"\n'
    settings = load(text, {**TOKEN, "KEY": "canary-model"})
    assert settings.analysis.llm is not None
    assert (settings.analysis.llm.timeout, settings.analysis.llm.requests_per_minute) == (45, 60)
    assert settings.analysis.criteria[0].told_as == "success"
    assert "canary-model" in settings.secrets()
    assert "canary" not in repr(settings) + str(settings.describe())


@pytest.mark.parametrize(
    ("text", "key", "cure"),
    [
        ('[analysis]\njudge = "llm"\n' + ASKED, "analysis.llm", "base_url"),
        (MODEL, "analysis.criteria", "[[analysis.criteria]]"),
        ('[analysis]\njudge = "local"\n' + ASKED, "analysis.criteria", 'judge = "llm"'),
        (MODEL + 'api_key = "canary"\n' + ASKED, "analysis.llm.api_key", "env:NAME"),
        (MODEL + 'timeout = "11m"\n' + ASKED, "analysis.llm.timeout", "600"),
        (MODEL.replace("https", "http") + ASKED, "analysis.llm.base_url", "https"),
        (MODEL + 'modle = "m"\n' + ASKED, "analysis.llm.modle", "analysis.llm.model"),
        (MODEL + ASKED.replace("solved", "Solved?"), "analysis.criteria.0.name", "lower-case"),
        (MODEL + ASKED + ASKED, "analysis.criteria", "solved more than once"),
        (MODEL + ASKED + 'kind = "choice"\n', "analysis.criteria.0", "two or more different choices"),
        (MODEL + ASKED + 'kind = "choice"\nchoices = ["a", "a"]\n', "analysis.criteria.0", "two or more"),
        (MODEL + ASKED + 'choices = ["a", "b"]\n', "analysis.criteria.0", 'kind = "choice"'),
        (MODEL + ASKED + 'as = "sentiment"\n', "analysis.criteria.0", 'kind = "number"'),
        (MODEL + ASKED + 'kind = "number"\nas = "success"\n', "analysis.criteria.0", 'kind = "boolean"'),
        (MODEL + ASKED.replace('"solved"', '"success"'), "analysis.criteria.0", 'as = "success"'),
    ],
)
def test_a_judge_that_cannot_work_is_refused(text: str, key: str, cure: str, load: Load) -> None:
    ((place, said),) = _problems(load, text).items()
    assert place == f"gateway.toml {key}"
    assert cure in said
    assert "canary" not in said


# The small types


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("30m", 1800), ("1h", 3600), ("2d", 172800), ("99999s", 99999)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@given(st.text(alphabet="0123456789smhd -+.", max_size=8) | st.text(max_size=8))
def test_any_other_duration_is_refused(text: str) -> None:
    if re.fullmatch("[1-9][0-9]{0,4}[smhd]", text):
        assert parse_duration(text) > 0
    else:
        with pytest.raises(ValueError, match="30m"):
            parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "1", "h", "1h30m", "-1h", "1.5h", "1H", " 1h", "1h\n", "٣h", "100000d"])
def test_a_duration_is_strict(text: str) -> None:
    with pytest.raises(ValueError, match="30m"):
        parse_duration(text)


@given(st.integers(0, 1439), st.integers(1, 1440))
def test_a_window_is_two_times_of_one_day(start: int, end: int) -> None:
    text = f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    if start < end:
        assert read_hours(text) == (start, end)
    else:
        with pytest.raises(ValueError, match="always"):
            read_hours(text)


def test_always_is_the_whole_day() -> None:
    assert read_hours("always") == read_hours("00:00-24:00") == (0, 1440)


@pytest.mark.parametrize("text", ["", "9-20", "9:00-20:00", "09:00-24:01", "09:00-29:00", "09:60-20:00", "Always"])
def test_a_window_is_strict(text: str) -> None:
    with pytest.raises(ValueError, match="always"):
        read_hours(text)


def test_loopback_is_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(
        map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", ""))
    )


# What is shown and kept


def test_settings_are_shown_as_read_with_their_sources(load: Load) -> None:
    shown = {
        key: (value, source)
        for key, value, source in load('[server]\nport = 9000\n[twilio]\naccount_sid = "AC1"\n').describe()
    }
    assert list(shown) == list(KEYS)
    assert shown["server.port"][0] == "9000"
    assert shown["server.port"][1].endswith("gateway.toml")
    assert shown["server.host"] == ("127.0.0.1", "default")
    assert shown["twilio.auth_token"] == ("set", "TWILIO_AUTH_TOKEN")
    assert shown["auth.admin_token"] == ("not set", "default")
    assert shown["outbound.allowed_countries"] == ("none", "default")


def test_settings_cannot_be_changed(load: Load) -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.log = Log()  # type: ignore[misc]


# The files around the code


def test_the_shipped_file_says_the_defaults(load: Load) -> None:
    assert load((ROOT / "config/gateway.toml").read_text()).model_dump() == load().model_dump()


def test_the_shipped_files_examples_are_right_and_show_every_key(load: Load) -> None:
    lines = (ROOT / "config/gateway.toml").read_text().splitlines()
    examples = {match[1] for line in lines if (match := re.match(r"# (\w+) = ", line))}
    # An example takes the place of the default that stands beside it.
    lines = [line for line in lines if line.split(" = ")[0] not in examples]
    text = "\n".join(re.sub(r"^# (?=\w+ = |\[)", "", line) for line in lines)
    environ = dict.fromkeys(re.findall(r'"env:(\w+)"', text), WEBHOOK_SECRET)
    settings = load(text, environ)
    sources = {key: source for key, _, source in settings.describe()}
    assert [key for key, source in sources.items() if source == "default"] == []


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| `(\w+)` \|$", page, re.MULTILINE)
    assert [key for key, *_ in rows] == list(KEYS)
    shown = {key: value for key, value, _ in Settings().describe()}
    for key, _, default, variable in rows:
        assert variable == environment_name(key)
        if key not in ("server.public_url", "database.url", "experiments.outcome_window") and "see" not in default:
            assert default.strip("`") == shown[key], key
        assert re.search(rf"^- (?:`[\w.]+`, )*`{key}`(?:, `[\w.]+`)*: ", page, re.MULTILINE), key
    for table, shape in NESTED.items():
        for name, field in shape.model_fields.items():
            assert f"`{field.alias or name}`" in page, f"{table}.{name}"
    for name in (*Receiver.model_fields, *get_args(NoticeKind)):
        assert f"`{name}`" in page


def test_the_images_environment_is_taken(load: Load) -> None:
    names = dict(re.findall(r"(GATEWAY_\w+)=(\S+)", (ROOT / "Dockerfile").read_text().split("WORKDIR")[0]))
    settings = load("", {**TOKEN, **names})
    assert settings.server.host == "0.0.0.0"
    assert settings.database.url.get_secret_value().startswith("sqlite:////data/")
    assert settings.paths.data == Path("/data")

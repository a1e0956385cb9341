"""Tells whether a request was signed by Twilio, or by a carrier that signs as Twilio does.

The scheme (Twilio's "Webhooks security" page): base64 of an HMAC over the public URL as requested, followed by
every form field as name and value with nothing between, sorted by name. HMAC-SHA1 with an account's auth
token, or HMAC-SHA256 with a SharedKey that the settings header names.

What a good signature does not say. No time is signed: a captured request verifies for ever. No mark stands
between URL, names and values: whoever holds a captured request can move such a border and it still verifies. That
can invent no character, but a field can be swallowed by its neighbour or by the end of the query, and ``CallSid`` can
be lost (refused where the form is read), cut short, or lengthened. Equal repeats are signed once, which is why
``forms.unique`` takes no repeats at all.
"""

import hashlib
import hmac
import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Literal, Self
from urllib.parse import parse_qs

Algorithm = Literal["sha1", "sha256"]
Pairs = Sequence[tuple[str, str]]

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<user>[^/@]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)"
    r"(?P<port>:[0-9]+)?(?P<prefix>/[^\s?#]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyring:
    """The secrets that requests may be signed with; several of one account are good at once, for rotation.

    ``tokens`` are the auth tokens by AccountSid (a subaccount signs with its own), ``any_account`` those tried
    when ``tokens`` is empty or the request names no account, ``shared_keys`` the SharedKey secrets by key id.
    """

    tokens: Mapping[str, tuple[str, ...]] = field(repr=False)
    any_account: tuple[str, ...] = field(default=(), repr=False)
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)


class Secret:
    """A secret made ready to sign: an HMAC (RFC 2104) that has taken its key in.

    ``hmac.digest`` looks the algorithm up by its name every time, which takes longer than hashing a request.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes, algorithm: Algorithm) -> None:
        made = hashlib.new(algorithm)
        key = secret if len(secret) <= made.block_size else hashlib.new(algorithm, secret).digest()
        key = key.ljust(made.block_size, b"\0")
        self._inner = hashlib.new(algorithm, bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.new(algorithm, bytes(byte ^ 0x5C for byte in key))

    def sign(self, message: bytes) -> bytes:
        """The signature in base64."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)


def matches(url: str, pairs: Pairs, signature: str, secret: Secret) -> bool:
    """Whether ``signature`` is that of exactly this URL and these fields; False for text that cannot be encoded."""
    try:
        given = signature.encode("ascii")
        message = url.encode() + _signed_fields(pairs)
    except UnicodeEncodeError:
        return False
    return hmac.compare_digest(secret.sign(message), given)


def body_matches(raw_path: str, body: bytes) -> bool:
    """Whether the query's ``bodySHA256`` is the hash of ``body``.

    Twilio signs only the URL of a JSON request, so such a request is good when this holds *and* ``verify`` does
    with no pairs.
    """
    told = parse_qs(raw_path.partition("?")[2]).get("bodySHA256", [])
    return len(told) == 1 and hmac.compare_digest(told[0].encode(), hashlib.sha256(body).hexdigest().encode())


class Verifier:
    """Checks signatures against one public URL and one keyring, both prepared once."""

    def __init__(self, *, public_url: str, keyring: Keyring) -> None:
        """``public_url`` is what Twilio was given before the path: scheme, host, port and prefix, as written there.

        Raises ValueError for a URL that is not http(s), and for an empty secret, which anybody could sign with.
        """
        self._base = _Base.of(public_url)
        self._prefixes = tuple(spelling.encode() for spelling in self._base.spellings())
        self._tokens = {sid: _secrets(sid, tokens, "sha1") for sid, tokens in keyring.tokens.items()}
        self._any_account = _secrets("any account", keyring.any_account, "sha1")
        self._shared = {key: _secrets(key, (secret,), "sha256") for key, secret in keyring.shared_keys.items()}

    def verify(
        self,
        raw_path: str,
        pairs: Pairs,
        signature: str | None,
        settings: str | None,
        account: str | None,
    ) -> bool:
        """Whether the request was signed with a secret that its account may use; False on any doubt.

        ``raw_path`` is the request target as received, path and query, never decoded; ``pairs`` every field of
        the form as posted (none for a GET); ``signature`` and ``settings`` the headers ``X-Twilio-Signature`` and
        ``X-Twilio-Webhooks-Signature-Settings``; ``account`` the AccountSid of the request.

        Twilio is not consistent about the port, so the URL is tried as configured, then without its port or, where
        it has none, with the default one. Twilio also signs an apostrophe in the query as ``%27`` but sends it bare.
        """
        if not signature:
            return False
        secrets = self._candidates(settings, account)
        try:
            given = signature.encode("ascii")
            fields = _signed_fields(pairs)
            for path in _spellings(raw_path):
                tail = path.encode() + fields
                for prefix in self._prefixes:
                    for secret in secrets:
                        if hmac.compare_digest(secret.sign(prefix + tail), given):
                            return True
        except (TypeError, ValueError):
            # What cannot be encoded cannot have been signed: a lone surrogate, a header beyond ASCII.
            return False
        return False

    def diagnose(
        self,
        raw_path: str,
        pairs: Pairs,
        signature: str | None,
        settings: str | None,
        account: str | None,
        *,
        host: str | None = None,
    ) -> str:
        """Why ``verify`` refused, as a sentence for the operator's log; ``host`` is the request's Host header.

        Not for every request: it tries some dozens of URLs. Credentials and the query are left out of it.
        """
        if not signature:
            return "no signature header: the request did not come from Twilio, or a proxy dropped X-Twilio-Signature"
        named = _printable(account or "no account")
        if self._is_stranger(account):
            return f"AccountSid {named} is not configured: add it to twilio.accounts with its auth token"
        if settings and _key_id(settings) not in self._shared:
            return f"no entry of twilio.shared_keys fits the signature settings {_printable(settings)}"
        checked = f"checked {_shown(self._base, raw_path)}"
        secrets = self._candidates(settings, account)
        if not secrets:
            return f"{checked}: no auth token is configured for {named}"
        for base, path in self._mistakes(raw_path, host):
            for url in base.spellings():
                if any(matches(url + path, pairs, signature, secret) for secret in secrets):
                    cures = "; ".join(_cures(self._base, base, raw_path, path))
                    return f"{checked}, but Twilio signed {_shown(base, path)}: {cures}"
        for owner, tokens in self._tokens.items():
            for url in self._base.spellings():
                if any(matches(url + raw_path, pairs, signature, token) for token in tokens):
                    return f"{checked}: the request names {named}, but {owner} signed it"
        return (
            f"{checked}; no usual mistake explains it: compare the auth token, and look for a proxy that"
            " removes a path prefix or rewrites the URL"
        )

    def _candidates(self, settings: str | None, account: str | None) -> tuple[Secret, ...]:
        """The secrets that may have signed. The header names a key; what the key is used with is not its choice."""
        if self._is_stranger(account):
            return ()
        if settings:
            return self._shared.get(_key_id(settings), ())
        if account and self._tokens:
            return self._tokens[account]
        return self._any_account

    def _is_stranger(self, account: str | None) -> bool:
        return bool(account and self._tokens and account not in self._tokens)

    def _mistakes(self, raw_path: str, host: str | None) -> Iterator[tuple["_Base", str]]:
        """Public URLs and paths that Twilio might have been given instead, the likeliest first."""
        base = self._base
        schemes = (base.scheme, "http" if base.scheme.lower() == "https" else "https")
        places = [(base.host, base.port), (base.host, "")]
        header = _Base.parse(f"http://{host}") if host else None
        if header:
            places.append((header.host, header.port))
        path, mark, query = raw_path.partition("?")
        slashed = (path[:-1] if path.endswith("/") else path + "/") + mark + query
        given = {
            (replace(base, scheme=scheme, host=name, port=port, prefix=prefix), asked): None
            for scheme, (name, port), prefix, asked in product(
                schemes, places, (base.prefix, ""), (raw_path, slashed)
            )
        }
        yield from sorted(given, key=lambda one: len(_cures(base, one[0], raw_path, one[1])))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Base:
    """A public URL in pieces, each as it was written: case and port are signed as they stand."""

    scheme: str
    user: str
    host: str
    port: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self | None:
        found = _URL.fullmatch(url)
        return cls(**found.groupdict(default="")) if found else None

    @classmethod
    def of(cls, url: str) -> Self:
        base = cls.parse(url.rstrip("/"))
        if base is None:
            raise ValueError(f"public_url {url!r} is no http(s) URL: write https://host[:port][/prefix]")
        return base

    def __str__(self) -> str:
        return f"{self.scheme}://{self.user}{self.host}{self.port}{self.prefix}"

    def spellings(self) -> tuple[str, str]:
        """As written, and with the port taken away or, if there is none, the scheme's own port added."""
        default = ":443" if self.scheme.lower() == "https" else ":80"
        return str(self), str(replace(self, port="" if self.port else default))


def _signed_fields(pairs: Pairs) -> bytes:
    # A name's values stand in order too, and equal ones once; the order of code points is that of UTF-8 bytes.
    ordered: Iterable[tuple[str, str]] = sorted(pairs)
    if len({name for name, _ in pairs}) < len(pairs):
        ordered = dict.fromkeys(ordered)
    return "".join(chain.from_iterable(ordered)).encode()


def _spellings(raw_path: str) -> tuple[str, ...]:
    if "'" not in raw_path:
        return (raw_path,)
    path, mark, query = raw_path.partition("?")
    return raw_path, path + mark + query.replace("'", "%27")


def _secrets(owner: str, secrets: Iterable[str], algorithm: Algorithm) -> tuple[Secret, ...]:
    encoded = [secret.encode() for secret in secrets]
    if not all(encoded):
        raise ValueError(f"the secret of {owner} is empty: leave it out or set it")
    return tuple(Secret(secret, algorithm) for secret in encoded)


def _key_id(settings: str) -> str:
    """The key named by ``key=…,algorithm=HMAC_SHA256``; blank when it names none, two, or another algorithm."""
    parts = [part.partition("=") for part in settings.split(",")]
    told = {name.strip(): value.strip() for name, _, value in parts}
    fits = len(told) == len(parts) and told.get("algorithm", "").upper() == "HMAC_SHA256"
    return told.get("key", "") if fits else ""


def _cures(ours: _Base, theirs: _Base, our_path: str, their_path: str) -> list[str]:
    """What an operator would change so that our URL becomes the one that was signed."""
    found = []
    if theirs.scheme != ours.scheme:
        found.append(f"write {theirs.scheme}:// in server.public_url, not {ours.scheme}://")
    if theirs.host != ours.host:
        found.append(f"write the host {theirs.host} in server.public_url, not {ours.host}")
    if theirs.port != ours.port:
        cure = f"add the port {theirs.port[1:]} to" if theirs.port else f"leave the port {ours.port[1:]} out of"
        found.append(f"{cure} server.public_url")
    if theirs.prefix != ours.prefix:
        found.append(f"leave the prefix {ours.prefix} out of server.public_url")
    if their_path != our_path:
        longer = len(their_path) > len(our_path)
        found.append(
            f"a trailing slash was {'removed' if longer else 'added'} on the way: let the proxy keep the path"
        )
    return found


def _shown(base: _Base, raw_path: str) -> str:
    path, mark, _ = raw_path.partition("?")
    return f"{replace(base, user='***@' if base.user else '')}{_printable(path)}{mark and '?…'}"


def _printable(text: str) -> str:
    # A refused request is anybody's text, and its way leads into a log.
    return ascii(text[:200])[1:-1]

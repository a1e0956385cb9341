"""Checks of the addresses a target names: only encrypted ones, and no secrets in them."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote_plus, urlsplit

from gateway.settings import is_loopback
from gateway.targets.parameters import reserved

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9.])?")


def web_address(url: str, scheme: str) -> SplitResult:
    """The parts of a URL that Twilio may be sent to.

    ``scheme`` is ``https`` or ``wss``; its unencrypted sister is taken for loopback hosts only. Raises ValueError
    with a sentence that never repeats the URL, which may hold a password.
    """
    if not re.fullmatch("[\x21-\x7e]+", url):
        raise ValueError("must be a URL in printable ASCII, without spaces")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError:
        raise ValueError("is not a URL: its host or port cannot be read") from None
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password: secrets never stand in files")
    if parts.scheme not in (scheme, scheme[:-1]) or not parts.netloc:
        raise ValueError(f"must begin with {scheme}://")
    if "_" in host:
        raise ValueError("Twilio refuses a host name with an underscore")
    if not _is_host(host, bracketed="[" in parts.netloc):
        raise ValueError("is not a URL: its host cannot be read")
    if parts.scheme != scheme and not is_loopback(host):
        raise ValueError(f"must begin with {scheme}://, since {scheme[:-1]}:// is taken for loopback hosts only")
    return parts


def no_reserved_query(query: str) -> None:
    """Raises ValueError when a query or a list of SIP headers sets one of the gateway's own names."""
    for pair in query.split("&"):
        name = unquote_plus(pair.partition("=")[0])
        if reserved(re.sub("^x-", "", name, flags=re.IGNORECASE)):
            raise ValueError(f"sets {name}, but names beginning with gateway_ are the gateway's own")


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST.fullmatch(host) is not None
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False

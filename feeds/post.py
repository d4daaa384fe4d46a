"""One attempt to tell a webhook: a signed POST, and what its answer means.

Only http and https, no redirects, no cookies, no proxy from the environment, and no more of the answer than a little:
it says nothing. What is not protected: whoever may register a webhook can make this server POST to any address that it
can reach, also inside its own network. Keep it from there by the network's own rules.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp
from msgspec import Struct
from yarl import URL

from domain.errors import TenutoError
from feeds.signing import signed

TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 64 * 1024
LONGEST_URL = 2_000
SAID = 200
"""Characters of an answer that are kept with the error."""


class BadWebhookUrlError(TenutoError):
    """{url!r} is no address to send to: write http(s)://host[:port]/path, without user, password or fragment."""


class Outcome(Struct, frozen=True):
    """`error` is None when it was taken. `gone`: it wants no more, ever. `retry_after_s` is a minimum."""

    error: str | None = None
    gone: bool = False
    retry_after_s: float = 0.0


class Post(Protocol):
    async def send(self, url: str, secret: str, id: str, body: bytes, *, now: datetime) -> Outcome: ...


class HttpPost:
    """The first attempt needs a running loop."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, secret: str, id: str, body: bytes, *, now: datetime) -> Outcome:
        """Never raises, except CancelledError."""
        headers = {"Content-Type": "application/cloudevents+json", **signed(secret, id, now, body)}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open().post(URL(url), data=body, headers=headers, allow_redirects=False) as response,
            ):
                said = await response.content.read(MAX_ANSWER_BYTES)
                return _outcome(response.status, response.headers.get("Retry-After"), said, now)
        except TimeoutError:
            return Outcome(f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(f"{type(error).__name__}: {error}"[: 2 * SAID])

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),  # `send` holds the one deadline
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "tenuto"},
            )
        return self._session


def check_url(url: str) -> None:
    """Raises BadWebhookUrlError."""
    try:
        parsed = URL(url)
        sound = (
            len(url) <= LONGEST_URL
            and parsed.scheme in ("http", "https")
            and bool(parsed.host)
            and parsed.user is None
            and parsed.password is None
            and not parsed.fragment
        )
    except ValueError:
        sound = False
    if not sound:
        raise BadWebhookUrlError(url=url[:SAID])


def _outcome(status: int, retry_after: str | None, said: bytes, now: datetime) -> Outcome:
    if 200 <= status < 300:
        return Outcome()
    text = said.decode("utf-8", "replace")[:SAID].replace("\0", "").strip()
    error = f"HTTP {status}" + (f": {text}" if text else "")
    return Outcome(error, gone=status == 410, retry_after_s=_seconds(retry_after, now))


def _seconds(text: str | None, now: datetime) -> float:
    """What `Retry-After` asks for; 0 when it is not there, or nonsense."""
    if text is None:
        return 0.0
    if text.strip().isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now) / timedelta(seconds=1))
    except (ValueError, TypeError):
        return 0.0

"""A webhook that is called when a series is whole; the only place that knows ``httpx``.

In: a delivery. Out: what the server made of it. Not here: when it is called again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.receiver.hook_delivery import Delivery, Ending, Outcome
from pypx.receiver.hook_settings import HookSettings
from pypx.secret import is_reference, resolve

if TYPE_CHECKING:
    import httpx

__all__ = ["WebhookHook"]

_DELIVERY = b"Pypx-Delivery"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# 4xx that say something of the moment and not of the request (RFC 9110, 8470, 6585).
_PASSING = frozenset({408, 425, 429})


class WebhookHook:
    """Posts events as JSON. 2xx is success; redirects are not followed.

    Raises:
        ConfigError: ``httpx`` is missing, or an environment variable that the settings name.
    """

    def __init__(self, settings: HookSettings, environ: Mapping[str, str] = os.environ) -> None:
        from importlib.util import find_spec

        if find_spec("httpx") is None:
            raise ConfigError(
                f"The hook {settings.name} is a webhook, which needs httpx.",
                hint="pip install 'pypx[webhook]'",
            )
        self.name = settings.name
        self._url = _expanded(settings.name, settings.webhook, environ)
        self._headers = {
            name.encode(): _secret(settings.name, value, environ).strip().encode()
            for name, value in settings.headers.items()
        }
        self._timeout = settings.timeout
        self._client: httpx.Client | None = None

    def deliver(self, delivery: Delivery) -> Outcome:
        """Post an event, and look at the status of the answer."""
        import json

        import httpx  # loaded with the first event: it takes a while

        body = json.dumps(delivery.event.document()).encode()
        headers = {
            b"Content-Type": b"application/json",
            b"User-Agent": _user_agent(),
            **self._headers,
            _DELIVERY: delivery.id.encode(),
        }
        try:
            if self._client is None:
                self._client = httpx.Client(timeout=self._timeout, follow_redirects=False)
            # What the server says beside the status is not read: it might never end.
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                return _outcome(answer.status_code, answer.reason_phrase)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            return Outcome(Ending.FAILED, f"cannot be called: {error}")
        except httpx.TimeoutException:
            return Outcome(Ending.AGAIN, f"did not answer within {self._timeout:g} s")
        except (httpx.HTTPError, OSError) as error:
            return Outcome(Ending.AGAIN, f"cannot be reached: {error or type(error).__name__}")

    def stop(self) -> None:
        """Nothing can be ended: the time-out does."""


def _outcome(status: int, phrase: str) -> Outcome:
    said = f"answered {status} {phrase}".rstrip()
    match status // 100:
        case 2:
            return Outcome(Ending.DELIVERED)
        case 3:
            return Outcome(Ending.FAILED, f"{said}: redirects are not followed")
        case 4 if status not in _PASSING:
            return Outcome(Ending.FAILED, said)
        case _:
            return Outcome(Ending.AGAIN, said)


def _user_agent() -> bytes:
    from pypx.version import __version__

    return f"pypx/{__version__}".encode()


def _secret(hook: str, text: str, environ: Mapping[str, str]) -> str:
    """Give the value of a header: a secret that it names, or a text with variables."""
    if is_reference(text):
        return resolve(text, f"The hook {hook}", environ)
    return _expanded(hook, text, environ)


def _expanded(hook: str, text: str, environ: Mapping[str, str]) -> str:
    """Put environment variables into a text.

    Raises:
        ConfigError: One of them is not set, or would break the request.
    """

    def value(match: re.Match[str]) -> str:
        found = environ.get(match[1])
        if found is None:
            raise ConfigError(
                f"The hook {hook} needs the environment variable {match[1]}, which is not set."
            )
        if not found.isprintable():
            raise ConfigError(
                f"The environment variable {match[1]} of the hook {hook} is no text of one line."
            )
        return found

    return _VARIABLE.sub(value, text)

"""How a peer is named: AE titles and ``AET@host:port``.

In: text from a command line or a configuration file. Out: checked values.
Nothing here looks a name up or opens a connection.
"""

from __future__ import annotations

from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["DEFAULT_AE_TITLE", "DEFAULT_PORT", "Address", "check_ae_title"]

DEFAULT_AE_TITLE = "PYPX"
DEFAULT_PORT = 104
_AE_TITLE_LENGTH = 16
_SHAPE = "AET@host:port, for example ORTHANC@127.0.0.1:4242"


def check_ae_title(text: str) -> str:
    """Give the AE title without its insignificant spaces, or refuse it.

    An AE title has 1 to 16 characters of the default repertoire, without
    backslash and control characters, and not only spaces (PS3.5 §6.2, VR AE).

    Raises:
        ConfigError: The text is no AE title.
    """
    title = text.strip(" ")
    if not title:
        raise ConfigError("An AE title cannot be empty.", hint="Give 1 to 16 characters.")
    if len(title) > _AE_TITLE_LENGTH:
        raise ConfigError(
            f"The AE title {title!r} has {len(title)} characters; at most 16 are allowed.",
            hint="Ask the administrator of the PACS how the title is spelled there.",
        )
    if any(not " " <= c <= "~" or c == "\\" for c in title):
        raise ConfigError(
            f"The AE title {title!r} has a character that AE titles cannot have.",
            hint="Use ASCII letters, digits, spaces, '-' and '_'.",
        )
    return title


@frozen
class Address:
    """Where an application entity listens, and what it is called.

    Attributes:
        ae_title: Its AE title, 1 to 16 characters.
        host: A host name, an IPv4 or an IPv6 address (without brackets).
        port: 1 to 65535.
    """

    ae_title: str
    host: str
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
        if not self.host:
            raise ConfigError("The address has no host.", hint=f"Write {_SHAPE}.")
        if any(c.isspace() or not c.isprintable() or c == "@" for c in self.host):
            raise ConfigError(f"{self.host!r} is no host name.", hint=f"Write {_SHAPE}.")
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"The port {self.port} is not between 1 and 65535.")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``AET@host:port``, ``AET@host`` or ``AET@[v6]:port``.

        Raises:
            ConfigError: The text has another shape; the message says which part is wrong.
        """
        title, at, rest = text.rpartition("@")
        if not at:
            raise ConfigError(f"{text!r} is no address.", hint=f"Write {_SHAPE}.")
        if rest.startswith("["):
            host, bracket, tail = rest[1:].partition("]")
            if not bracket or (tail and not tail.startswith(":")):
                raise ConfigError(f"{text!r} is no address.", hint="Write AET@[::1]:4242.")
            port_text = tail[1:] if tail else str(DEFAULT_PORT)
        else:
            host, colon, port_text = rest.partition(":")
            if ":" in port_text:
                raise ConfigError(
                    f"{text!r} is no address.", hint="Put brackets around IPv6: AET@[::1]:4242."
                )
            port_text = port_text if colon else str(DEFAULT_PORT)
        if not (port_text.isascii() and port_text.isdigit()):
            raise ConfigError(f"{port_text!r} is no port.", hint=f"Write {_SHAPE}.")
        return cls(title, host, int(port_text))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"

"""Where an audit trail goes.

In: text of the configuration. Out: a value. Not here: how it gets there.
"""

from __future__ import annotations

from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["AuditTarget"]

_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}  # RFC 5426, 6587, 5425
_HINT = 'to = "file:/var/log/pypx/audit.log", "udp://host:514", "tcp://host:601", "tls://host:6514"'


@frozen
class AuditTarget:
    """A file or a syslog server.

    Attributes:
        scheme: ``file``, ``udp``, ``tcp`` or ``tls``.
        path: Of a file, absolute.
        host: Of a server.
        port: Of a server.
        ca: A file of certificates that are trusted; None for those of the system.
    """

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    ca: str | None = None

    @classmethod
    def parse(cls, text: str, ca: str | None = None) -> AuditTarget:
        """Read ``file:PATH`` or ``udp://HOST[:PORT]``, ``tcp://…``, ``tls://…``.

        Raises:
            ConfigError: It is neither.
        """
        scheme, _, rest = text.partition(":")
        if scheme == "file":
            path = rest.removeprefix("//")
            if not path.startswith("/"):
                raise ConfigError(f"{text!r} is no absolute path.", hint=_HINT)
            return cls("file", path)
        host, colon, port = rest.removeprefix("//").rpartition(":")
        if not colon or (port.endswith("]") and "[" in host):
            host, port = rest.removeprefix("//"), str(_PORTS.get(scheme, 0))
        host = host.removeprefix("[").removesuffix("]")
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
        if scheme not in _PORTS or not rest.startswith("//") or not host or not is_port:
            raise ConfigError(f"{text!r} is no place for an audit trail.", hint=_HINT)
        return cls(scheme, host=host, port=int(port), ca=ca)

    def __str__(self) -> str:
        """Give it as it is written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"file:{self.path}" if self.path else f"{self.scheme}://{host}:{self.port}"

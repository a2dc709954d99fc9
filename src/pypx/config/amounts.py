"""Values that users write as text: a size of memory, and where to listen for HTTP.

In: text, from the file or the command line. Out: numbers, or an error that says what to write.
"""

from __future__ import annotations

from pypx.errors import ConfigError

__all__ = ["parse_endpoint", "parse_size"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LOOPBACK = "127.0.0.1"


def parse_size(text: str | int) -> int:
    """Read a number of bytes: ``500M``, ``1GiB``, ``0``; the units are powers of 1024.

    Raises:
        ConfigError: It is none.
    """
    import re  # who listens has it already

    shape = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", str(text), re.IGNORECASE)
    if shape is None:
        raise ConfigError(f"{text!r} is no size; write 500M or 1GiB.")
    return int(float(shape[1]) * _UNITS[shape[2].upper()])


def parse_endpoint(text: str | int) -> tuple[str, int]:
    """Read ``PORT`` or ``HOST:PORT``; without a host it is this machine only.

    Raises:
        ConfigError: It is neither.
    """
    host, colon, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if (colon and not host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{text!r} is no address; write PORT or HOST:PORT, for example 9104.")
    return host or _LOOPBACK, int(port)

"""SeaHash, the 64 bit hash that upstream's folders of series have.

In: bytes. Out: a number. It is here for names only, since two inputs with one hash are easily
found; what has to tell two series apart for certain is done elsewhere.
"""

from __future__ import annotations

__all__ = ["seahash"]

_MASK = (1 << 64) - 1
_PRIME = 0x6EED0E9DA4D94A4F
_STATE = (0x16F11FE89B0D677C, 0xB480A793D8E6C86C, 0x6FE2E5AAF078EBC9, 0x14F994A4C5259381)


def _diffuse(x: int) -> int:
    x = x * _PRIME & _MASK
    x ^= (x >> 32) >> (x >> 60)
    return x * _PRIME & _MASK


def seahash(data: bytes) -> int:
    """Give the hash of version 4 with the usual seeds: 8 bytes a step, little endian."""
    a, b, c, d = _STATE
    for start in range(0, len(data), 8):
        block = int.from_bytes(data[start : start + 8], "little")
        a, b, c, d = b, c, d, _diffuse(a ^ block)
    return _diffuse(a ^ b ^ c ^ d ^ len(data))

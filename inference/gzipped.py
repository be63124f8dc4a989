"""Gzip members to bytes: fast, bounded by what is wanted, and checked to their end."""

import zlib

import deflate
from isal import isal_zlib

MOST_SURPLUS_MIB = 64  # decompressed beyond what is wanted, to reach the checksum


class DamagedGzip(Exception):
    """Compressed data that are cut off or wrong; the text says which."""


def inflated(blob, wanted, to_end=False):
    """The first `wanted` decompressed bytes, over all gzip members; never allocates beyond that.

    to_end: read the last member on to its checksum, so that damage is found.
    """
    parts, left, rest, member = [], wanted, blob, None
    try:
        while left and rest:
            member = isal_zlib.decompressobj(31)  # 31: gzip framing, 32 KiB window
            while left and not member.eof:
                piece = member.decompress(rest, left)
                rest = member.unconsumed_tail
                if not piece and not member.eof and not rest:
                    raise DamagedGzip("truncated: the compressed data end too early")
                parts.append(piece)
                left -= len(piece)
            rest = member.unused_data.lstrip(b"\0") if member.eof else rest
        if to_end and member is not None and not member.eof:
            _read_on(member, rest)
    except (isal_zlib.IsalError, zlib.error) as error:
        raise DamagedGzip("corrupt: the compressed data cannot be decompressed") from error
    return b"".join(parts)


def _read_on(member, rest):
    """Decompress what follows in a gzip member to its end, whose checksum is compared there; nothing is kept."""
    for _ in range(MOST_SURPLUS_MIB):
        piece = member.decompress(rest, 1 << 20)
        rest = member.unconsumed_tail
        if member.eof:
            return
        if not piece and not rest:
            raise DamagedGzip("truncated: the compressed data end too early")
    raise DamagedGzip("corrupt: the compressed data go on far beyond what the header promises")


def decompressed(blob, total):
    """All `total` bytes the header promises; libdeflate reads one member only, so lengths are compared."""
    try:
        whole = deflate.gzip_decompress(blob, total)
    except (deflate.DeflateError, ValueError):
        whole = b""
    return whole if len(whole) == total else inflated(blob, total, to_end=True)

"""Mutations of bytes: what failing disks, cut transfers and hostile hands leave behind, whatever the format."""

import gzip
import random

_MAGIC = (b"\x1f\x8b\x08", b"PK\x03\x04", b"\x80\x04\x95", b"<?xml", b"{", b"[", b"\xef\xbb\xbf", b"\xff\xfe", b"%YAML")
_BITS = (
    b"\x00",
    b"\xff",
    b"\n",
    b"\r\n",
    b'"',
    b"\\",
    b"{",
    b"]",
    b"<",
    b"&",
    b"\t",
    b"\x1b[31m",
    b"\xed\xa0\x80",
    b"9" * 40,
)
# A header is small and a weight file large: half of the places are near the start.
_HEAD = 512
# More than what is read whole of a small file.
HUGE = 40 * 2**20
_BOMB = gzip.compress(bytes(HUGE), mtime=0)


def mutate_bytes(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The mutated content and what was done to it."""
    at, end = _span(len(content), draw)
    match draw.randrange(12):
        case 0 | 1 if content:
            at = min(at, len(content) - 1)
            bit = 1 << draw.randrange(8)
            return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :], f"bit {bit} of byte {at} flipped"
        case 2:
            return content[:at], f"cut at {at}"
        case 3:
            return content[:at] + content[end:], f"bytes {at} to {end} deleted"
        case 4:
            return content[:end] + content[at:], f"bytes {at} to {end} twice"
        case 5:
            return content[:at] + bytes(end - at) + content[end:], f"bytes {at} to {end} zeroed"
        case 6:
            inserted = draw.choice(_BITS) * draw.choice((1, 1, 1, 50))
            return content[:at] + inserted + content[at:], f"{inserted[:10]!r} inserted at {at}"
        case 7:
            inserted = draw.randbytes(draw.choice((1, 4, 64)))
            return content[:at] + inserted + content[at:], f"{len(inserted)} random bytes inserted at {at}"
        case 8:
            magic = draw.choice(_MAGIC)
            return magic + content[len(magic) :], f"starts with {magic!r}"
        case 9:
            return b"", "empty"
        case 10:
            if draw.random() < 0.1:
                return content + bytes(HUGE), "40 MiB of zeros at the end"
            return content + bytes(draw.choice((1, 8, 4096))), "zeros at the end"
        case _:
            return _whole(content, draw)


def _whole(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    return draw.choice(
        [
            (draw.randbytes(max(1, len(content))), "random bytes"),
            (content.decode("latin-1").encode("utf-16"), "in UTF-16"),
            (gzip.compress(content, mtime=0), "compressed"),
            (_BOMB, "40 MiB of zeros, compressed"),
            (content * 2, "twice"),
            (content[::-1], "backwards"),
            (b"\n" * max(1, len(content)), "line breaks"),
            (b"null", "null"),
        ]
    )


def _span(length: int, draw: random.Random) -> tuple[int, int]:
    at = draw.randrange(length + 1) if draw.random() < 0.5 else draw.randrange(min(length, _HEAD) + 1)
    return at, min(length, at + draw.choice((1, 2, 4, 8, 64, 1000)))

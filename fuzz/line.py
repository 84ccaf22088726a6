"""Messages between workers and nodes under arbitrary bytes.

Invariant: any bytes, cut anywhere, are messages and a rest that waits for more, or ValueError. A link takes them if
they are whole frames, and then their number is that of the messages, which are encoded to the same bytes.
"""

from __future__ import annotations

from flin.net.messages.line import HEADER, Frames, encode_frame, number_of_frames
from fuzz.byte_source import ByteSource

LENGTHS = (0, 1, 2, 7, 8, 9, 255, 1 << 30, (1 << 32) - 1)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    _read(rest, 1 + len(data) % 9)
    if kind >= b"\x80":
        source = ByteSource(rest)
        _read(b"".join(_frame(source) for _ in range(source.randrange(5))), 1 + source.randrange(40))


def _frame(source: ByteSource) -> bytes:
    """A good one, most of the time."""
    if not source.randrange(4):
        return HEADER.pack(source.choice(LENGTHS), source.choice(LENGTHS)) + bytes(source.randrange(20))
    return encode_frame(bytes(source.randrange(20)), b"\r\n" * source.randrange(20))


def _read(data: bytes, step: int) -> None:
    try:
        number = number_of_frames(data)
    except ValueError:
        number = None
    frames = Frames()
    messages = []
    try:
        for begin in range(0, len(data), step):
            messages += frames.feed(data[begin : begin + step])
    except ValueError:
        assert number is None
        return
    encoded = b"".join(encode_frame(*message) for message in messages)
    assert data.startswith(encoded)
    assert (number is not None) == (encoded == data)
    assert number is None or number == len(messages)

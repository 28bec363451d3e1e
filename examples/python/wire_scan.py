"""Bounds what a message decodes to before anything of it is decoded: an element of two bytes can take a hundred in memory.

The rule of `core/src/api/wire_scan.rs`. Nothing is kept, and what can't be read is refused.
"""

from google.protobuf.descriptor import FieldDescriptor
from refused import Refused

# How much memory a message may take beyond twice its size on the wire. Honest messages are at most 2 MiB and take less.
EXTRA_MAX_BYTES = 4 * 1024 * 1024
FIELDS_MAX = 512 * 1024
DEPTH_MAX = 64
# The memory of an element, rounded up: an embedded message, a text, a number.
MESSAGE_BYTES, TEXT_BYTES, NUMBER_BYTES = 128, 32, 16
FIXED_BYTES = {1: 8, 5: 4}
VARINT_MAX_BYTES = 10


class Scan:
    """What is left of the limits of one message."""

    def __init__(self, length):
        self.fields, self.memory = FIELDS_MAX, 2 * length + EXTRA_MAX_BYTES

    def take(self, size):
        self.memory -= size
        if self.memory < 0:
            raise Refused("message would take much more memory than it has bytes")

    def message(self, kind, data, at, end, depth):
        """Scans the bytes from `at` to `end`. `kind` is the descriptor of their message; None: bytes of an unknown group."""
        if depth == 0:
            raise Refused("message is nested deeper than it may be")
        groups = 0
        while at < end:
            self.fields -= 1
            if self.fields < 0:
                raise Refused("message has more fields than it may have")
            key, at = varint(data, at, end)
            field = kind.fields_by_number.get(key >> 3) if groups == 0 else None
            wire = key & 7
            if key >> 3 == 0:
                raise Refused("message is not in the wire format")
            if wire == 2:
                length, at = varint(data, at, end)
                if length > end - at:
                    raise Refused("message is not in the wire format")
                self.payload(field, data, at, at + length, depth)
                at += length
            elif wire == 3:
                groups += 1
            elif wire == 4 and groups > 0:
                groups -= 1
            elif wire == 0:
                _, at = varint(data, at, end)
                self.take(NUMBER_BYTES)
            elif wire in FIXED_BYTES:
                at += FIXED_BYTES[wire]
                self.take(NUMBER_BYTES)
            else:
                raise Refused("message is not in the wire format")
            if groups >= depth:
                raise Refused("message is nested deeper than it may be")
        if at != end or groups:
            raise Refused("message is not in the wire format")

    def payload(self, field, data, at, end, depth):
        if field is None:
            self.take(end - at)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            self.take(MESSAGE_BYTES)
            self.message(field.message_type, data, at, end, depth - 1)
        elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            self.take(TEXT_BYTES + end - at)
        else:
            self.take(NUMBER_BYTES * (end - at))  # packed numbers have at least a byte each


def varint(data, at, end):
    """Returns a number and where it ends."""
    value = 0
    for shift in range(VARINT_MAX_BYTES):
        if at >= end:
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at
    raise Refused("message is not in the wire format")


def read_message(kind, data):
    """Returns a message of this kind, decoded once it is within the limits."""
    Scan(len(data)).message(kind.DESCRIPTOR, data, 0, len(data), DEPTH_MAX)
    return kind.FromString(data)

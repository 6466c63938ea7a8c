"""ICC profiles for tests, written out: lights, curves, no more."""

import struct

P3 = [(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
ADOBE = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
PROPHOTO = [(0.7977, 0.2880, 0), (0.1352, 0.7119, 0), (0.0313, 0.0001, 0.8249)]
SRGB = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]


def para(kind, *values):
    numbers = [round(value * 65536) for value in values]
    return b"para\0\0\0\0" + struct.pack(f">HH{len(numbers)}i", kind, 0, *numbers)


def curv(*numbers):
    return b"curv\0\0\0\0" + struct.pack(f">I{len(numbers)}H", len(numbers), *numbers)


SRGB_CURVE = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(value * 65536) for value in values])


def profile(lights, curve):
    """A profile of RGB by three lights, or of grey if there are none."""
    names = [b"r", b"g", b"b"] if lights else [b"k"]
    tags = {name + b"TRC": curve for name in names}
    tags |= {name + b"XYZ": xyz(light) for name, light in zip(names, lights, strict=False)}
    tags[b"wtpt"] = xyz((0.9642, 1, 0.8249))
    return packed(tags, b"RGB " if lights else b"GRAY")


def display_p3():
    """Display P3, as phones and screens have it."""
    return profile(P3, SRGB_CURVE)


def of_tables():
    """A profile of RGB that has a table to LAB and no curves: all colours are shown as grey."""
    corners = [round(85 * sum(map(int, f"{n:03b}"))) for n in range(8)]
    table = b"mft1\0\0\0\0\3\3\2\0" + struct.pack(">9i", *[65536, 0, 0, 0] * 2, 65536)
    table += bytes(range(256)) * 3 + b"".join(bytes([level, 128, 128]) for level in corners)
    return packed({b"A2B0": table + bytes(range(256)) * 3}, b"RGB ", b"Lab ")


def packed(tags, space, connection=b"XYZ "):
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytearray(128)
    head[:4] = struct.pack(">I", start + len(body))
    head[8:24] = b"\x04\x20\0\0mntr" + space + connection
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(head) + struct.pack(">I", len(tags)) + table + body

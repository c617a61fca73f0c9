"""A small CMYK profile made by hand, since none may be shipped: an ink model in lookup tables.

Source: ICC.1:2001-04 (profile version 2), sections 6.1 (header), 6.5.8 (lut8Type).
"""

import struct

import numpy as np

_XYZ_OF_RGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
_WHITE = np.array([0.9642, 1.0, 0.8249])


def light_of_inks(cmyk: np.ndarray) -> np.ndarray:
    """Return linear RGB in [0, 1] of (..., 4) inks in [0, 1]: paper is yellowish and inks are weak."""
    paper = np.array([0.95, 0.93, 0.85])
    return paper * (1 - 0.9 * cmyk[..., :3]) * (1 - 0.95 * cmyk[..., 3:])


def _lab(linear_rgb: np.ndarray) -> np.ndarray:
    xyz = linear_rgb @ _XYZ_OF_RGB.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def _linear_rgb(lab: np.ndarray) -> np.ndarray:
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (116 * f - 16) * 27 / 24389) * _WHITE
    return xyz @ np.linalg.inv(_XYZ_OF_RGB).T


def _inks_of_light(linear_rgb: np.ndarray) -> np.ndarray:
    share = np.clip(linear_rgb / np.array([0.95, 0.93, 0.85]), 0, 1)
    black = np.clip((1 - share.max(axis=-1, keepdims=True)) / 0.95, 0, 1)
    colours = np.clip((1 - share / (1 - 0.95 * black)) / 0.9, 0, 1)
    return np.concatenate([colours, black], axis=-1)


def _grid(inputs: int, points: int) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * inputs, indexing="ij")
    return np.stack(axes, axis=-1)


def _lut8(inputs: int, outputs: int, points: int, table: np.ndarray) -> bytes:
    identity = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    head = b"mft1" + bytes(4) + bytes([inputs, outputs, points, 0]) + matrix
    return head + identity * inputs + table.astype(np.uint8).tobytes() + identity * outputs


def cmyk_profile() -> bytes:
    """Return the profile."""
    lab = _lab(light_of_inks(_grid(4, 9)))
    a_to_b = np.rint(np.clip(lab * [2.55, 1, 1] + [0, 128, 128], 0, 255))
    corners = _grid(3, 33) * [100, 255, 255] - [0, 128, 128]
    b_to_a = np.rint(_inks_of_light(_linear_rgb(corners)) * 255)
    text = b"made by a test\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in _WHITE)),
        b"A2B0": _lut8(4, 3, 9, a_to_b),
        b"B2A0": _lut8(3, 4, 33, b_to_a),
    }
    at = 128 + 4 + 12 * len(tags)
    entries, contents = b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        entries += name + struct.pack(">2I", at + len(contents), len(content))
        contents += content
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I", at + len(contents)) + b"test" + struct.pack(">I", 0x02400000) + b"prtrCMYKLab "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + illuminant
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + entries + contents

"""Makes images, and changes to clips that break the contract."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

GRAY = np.zeros((6, 5), np.uint8)


def context(example, name):
    """Returns the context feature `name`."""
    return example.context.feature[name]


def frame(example, index):
    """Returns the `bytes_list` of an encoded frame."""
    return example.feature_lists.feature_list["image/encoded"].feature[index].bytes_list


def timestamps(example):
    return [feature.int64_list for feature in example.feature_lists.feature_list["image/timestamp"].feature]


def encode_image(array, image_format="PNG", **options):
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, image_format, **options)
    return buffer.getvalue()


def _png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height, width, pixels=b"", depth=8, colour=0):
    """Returns a PNG with a valid header and checksums, for any pixel data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def remove_feature_lists(example):
    example.ClearField("feature_lists")


def remove_frames(example):
    for name in ("image/encoded", "image/timestamp"):
        del example.feature_lists.feature_list[name].feature[:]


def truncate(example, count):
    for name in ("image/encoded", "image/timestamp"):
        del example.feature_lists.feature_list[name].feature[count:]


def set_context(name, kind, *values):
    """Returns a change that sets a context feature."""

    def change(example):
        context(example, name).Clear()
        getattr(context(example, name), kind).value.extend(values)

    return change


def set_frame(index, data):
    def change(example):
        frame(example, index).value[0] = data

    return change


def set_time(index, time):
    def change(example):
        timestamps(example)[index].value[0] = time

    return change


def add_second_value(example):
    frame(example, 1).value.append(b"second")


def remove_last_timestamp(example):
    del example.feature_lists.feature_list["image/timestamp"].feature[3]


def replace_png_with_jpeg(example):
    frame(example, 2).value[0] = encode_image(np.zeros((6, 5), np.uint8), "JPEG")


def damage_png(example):
    data = bytearray(frame(example, 1).value[0])
    data[data.index(b"IDAT") + 8] ^= 0xFF
    frame(example, 1).value[0] = bytes(data)


def truncate_png(example):
    frame(example, 3).value[0] = frame(example, 3).value[0][:-20]

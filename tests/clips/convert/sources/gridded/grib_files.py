"""Writes GRIB messages with ecCodes."""

import io

import eccodes
import numpy as np
from PIL import Image

MISSING = 9999.0


def grib(values, sample="regular_ll_sfc_grib2", **keys):
    """Returns a message of `(rows, columns)`; NaN is missing."""
    values = np.asarray(values, np.float64)
    handle = eccodes.codes_grib_new_from_samples(sample)
    try:
        order = {"Nj": values.shape[0], "Ni": values.shape[1], "bitsPerValue": 16, "decimalPrecision": 2, **keys}
        for name, value in order.items():
            eccodes.codes_set(handle, name, value)
        if np.isnan(values).any():
            eccodes.codes_set(handle, "bitmapPresent", 1)
            eccodes.codes_set(handle, "missingValue", MISSING)
        eccodes.codes_set_values(handle, np.where(np.isnan(values), MISSING, values).ravel())
        return eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)


def sections(message):
    """Returns number and bytes of the sections 1 to 7 of a message of edition 2."""
    found, position = [], 16
    while message[position : position + 4] != b"7777":
        size = int.from_bytes(message[position : position + 4], "big")
        found.append((message[position + 4], message[position : position + size]))
        position += size
    return found


def join_sections(message, parts):
    """Returns a message of edition 2 with these sections."""
    body = b"".join(parts)
    return message[:8] + (20 + len(body)).to_bytes(8, "big") + body + b"7777"


def mrms(values, parameter, **keys):
    """Returns a message as MRMS writes it: a local parameter, values in tenths as PNG, codes for no data."""
    values = np.asarray(values, np.float64)
    message = grib(np.zeros(values.shape), centre=161, significanceOfReferenceTime=3, discipline=209, **keys)
    png = io.BytesIO()
    Image.fromarray(np.rint((values + 999) * 10).astype("u2")).save(png, "PNG")
    parts = []
    for number, section in sections(message):
        if number == 4:
            section = section[:9] + bytes(parameter) + section[11:]
        elif number == 5:
            size = int(values.size).to_bytes(4, "big")
            reference = np.array(-9990, ">f4").tobytes()
            section = b"\0\0\0\x15\5" + size + (41).to_bytes(2, "big") + reference + bytes([0, 0, 0, 1, 16, 0])
        elif number == 7:
            section = (5 + len(png.getvalue())).to_bytes(4, "big") + b"\7" + png.getvalue()
        parts.append(section)
    return join_sections(message, parts)


def eccodes_values(path):
    """Returns the fields of a file as ecCodes reads it, with NaN for missing."""
    fields = []
    eccodes.codes_grib_multi_support_on()
    try:
        with open(path, "rb") as file:
            while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
                eccodes.codes_set(handle, "missingValue", 1e30)
                values = eccodes.codes_get_values(handle)
                shape = eccodes.codes_get(handle, "Nj"), eccodes.codes_get(handle, "Ni")
                fields.append(np.where(values == 1e30, np.nan, values).reshape(shape))
                eccodes.codes_release(handle)
    finally:
        eccodes.codes_grib_multi_support_off()
    return np.array(fields)

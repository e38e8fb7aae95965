"""Arrays as short texts inside of a page: 16 bits a number, differences in time, deflated, in base64."""

import base64
import zlib

import numpy as np

_UNKNOWN, _LARGEST = -32768, 32767


def pack(values: np.ndarray, step: float) -> dict:
    """(T, ...) numbers, nan where unknown, rounded to multiples of `step`, or of more where 16 bits do not reach.

    Returns {"rows": T, "columns": the rest, "step": .., "data": text}, which `unpack` of templates/data.js reads.
    """
    columns = values.reshape(len(values), -1).T.astype(np.float64)
    known = np.isfinite(columns)
    step = max(step, np.abs(columns[known]).max(initial=0) / _LARGEST)
    whole = np.where(known, np.round(np.where(known, columns, 0) / step), _UNKNOWN).astype(np.int16)
    difference = np.diff(whole, axis=1, prepend=np.int16(0))  # wraps around, and so does its sum
    low_bytes_first = np.ascontiguousarray(difference, "<i2").view(np.uint8).reshape(-1, 2).T.tobytes()
    data = base64.b64encode(zlib.compress(low_bytes_first)).decode()
    return {"rows": len(values), "columns": len(columns), "step": step, "data": data}

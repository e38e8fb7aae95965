"""Small videos, written as phones and screen recorders write them."""

from fractions import Fraction

import numpy as np

SIDE = 64  # pixels of the shorter side
_TKHD_MATRIX = 44  # bytes from the box's name to its matrix
_QUARTER_TURNS = {  # clockwise, as the player must turn the image; 16.16 fixed point
    0: (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000),
    1: (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000),
    2: (-0x10000, 0, 0, 0, -0x10000, 0, 0, 0, 0x40000000),
    3: (0, -0x10000, 0, 0x10000, 0, 0, 0, 0, 0x40000000),
}


def write_video(path, images, milliseconds, turns=0, aspect=None, options=None):
    """Write (H, W, 3) uint8 images, shown upright, at times in ms; the file holds them turned `turns` quarters back.

    Only an .mp4 file may be turned: its metadata say by how much, as those of a phone held upright do.
    """
    import av

    stored = [np.ascontiguousarray(np.rot90(image, turns)) for image in images]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("mpeg4", rate=1000, options={"g": "10"})
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.bit_rate = 4_000_000
        stream.codec_context.max_b_frames = 0 if path.suffix == ".avi" else 2  # AVI has no times for their order
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for image, time in zip(stored, milliseconds):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turns:
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + _TKHD_MATRIX
        content[at : at + 36] = np.array(_QUARTER_TURNS[turns], ">i4").tobytes()
        path.write_bytes(content)
    return path


def numbered(count, width=SIDE, height=2 * SIDE):
    """Images that say which they are: grey of 8 times the number, with a white block in their upper left corner."""
    images = np.empty((count, height, width, 3), np.uint8)
    images[:] = (8 * np.arange(count) + 4)[:, None, None, None]
    images[:, :16, :16] = 255
    return images


def number_of(image):
    """The number of one of these images."""
    return round((float(np.median(image)) - 4) / 8)

"""One frame as a matplotlib figure: the keypoints in the image, and the person in 3D, to be turned in a window."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import BONES
from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.frames import images
from liftbench.lift.pictures.stage import COLOURS, SIDES, Stage, stage

_REACH = 1.0  # m of floor to each side of the person


def plot(lifted: Lifted, frame: int) -> Figure:
    """Draw a frame, counted from 0, or from the end where negative. Raises InputError where there is no such frame."""
    frames = len(lifted.valid)
    if not -frames <= frame < frames:
        raise InputError(f"Cannot draw frame {frame}: there is no such frame. Choose 0 to {frames - 1}.")
    frame %= frames
    (image,) = images(lifted, [frame])
    with plt.rc_context({"grid.color": "#D5D9DD", "grid.linewidth": 0.6}):
        figure = plt.figure(figsize=(9, 4.6), layout="constrained")
        flat, space = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    figure.suptitle(f"Frame {frame}, {frame / lifted.fps:.2f} s", fontsize=10)
    _draw_image(flat, lifted, frame, image)
    _draw_space(space, stage(lifted), lifted.valid[frame], frame)
    return figure


def _draw_image(axes: Axes, lifted: Lifted, frame: int, image: np.ndarray | None):
    width, height = lifted.image_size
    if image is not None:
        axes.imshow(image, extent=(0, width, height, 0))
    else:
        axes.set_facecolor("#ECEEF0")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x, pixels", ylabel="y, pixels")
    axes.tick_params(labelsize=8)
    _draw_bones(axes, lifted.keypoints_2d[frame, :, :2], lifted.valid[frame], 1.8, 14)


def _draw_space(axes: Axes, stage: Stage, valid: np.ndarray, frame: int):
    points = stage.points[frame] / 1000
    known = np.isfinite(points).all(axis=-1)
    middle = points[known, :2].mean(axis=0) if known.any() else np.zeros(2)
    top = max(1.0, points[known, 2].max()) if known.any() else 1.8
    _draw_bones(axes, points, valid, 2.6, 22)
    x, y = ((middle[axis] - _REACH, middle[axis] + _REACH) for axis in range(2))
    axes.set(xlim=x, ylim=y, zlim=(0, 1.05 * top), xlabel="x, m", ylabel="y, m", zlabel="z, m")
    axes.set_box_aspect((2 * _REACH, 2 * _REACH, 1.05 * top), zoom=1.15)
    axes.view_init(elev=12, azim=stage.azimuth - 60)
    axes.tick_params(labelsize=7)
    for axis, colour in ((axes.xaxis, "#FFFFFF"), (axes.yaxis, "#FFFFFF"), (axes.zaxis, "#ECEEF0")):
        axis.set_pane_color(colour)
        axis.set_major_locator(MultipleLocator(0.5))


def _draw_bones(axes: Axes, points: np.ndarray, valid: np.ndarray, width: float, size: float):
    """Bones and joints in axes of as many dimensions as the points have; joints that are not valid are hollow."""
    known = np.isfinite(points).all(axis=-1)
    for a, b in BONES:
        if known[a] and known[b]:
            axes.plot(*points[[a, b]].T, color=COLOURS[SIDES[b]], linewidth=width, solid_capstyle="round")
    for joint in np.flatnonzero(known):
        colour = COLOURS[SIDES[joint]]
        face = colour if valid[joint] else "white"
        axes.scatter(*points[[joint]].T, s=size, color=face, edgecolors=colour, linewidths=1.3, zorder=3)

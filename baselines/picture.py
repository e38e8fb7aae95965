"""A picture of a data set: 2D detections above, the 3D poses they belong to below."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from baselines.files import replacing
from baselines.skeleton import LEFT, PARENTS, RIGHT

# Wong's colour-blind safe palette.
LEFT_COLOUR, RIGHT_COLOUR, MIDDLE_COLOUR = "#0072B2", "#D55E00", "#444444"
IMAGE = 1000  # pixels, the side of Human3.6M's images


def colour(joint: int) -> str:
    """Of the bone that ends in joint."""
    return LEFT_COLOUR if joint in LEFT else RIGHT_COLOUR if joint in RIGHT else MIDDLE_COLOUR


def draw(
    joint_2d: np.ndarray,
    confidence: np.ndarray,
    joints_3d: np.ndarray,
    titles: list[str],
    path: str | Path,
) -> Path:
    """Draw K poses side by side into a PNG at path.

    joint_2d: (K, 17, 2) pixels; confidence: (K, 17) in [0, 1], shown as opacity;
    joints_3d: (K, 17, 3) mm, camera frame (x right, y down, z forward), seen a little from the side, all at one scale.
    titles: K. Left limbs are blue, right limbs orange. Raises InputError where path cannot be written.
    """
    columns = len(titles)
    half = 0.51 * np.ptp(joints_3d, axis=1).max()  # one scale for all
    figure = Figure(figsize=(2.3 * columns, 5.6))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.07, top=0.92, wspace=0.03, hspace=0.03)
    for column in range(columns):
        flat = figure.add_subplot(2, columns, column + 1)
        draw_2d(flat, joint_2d[column], confidence[column])
        flat.set_title(titles[column], fontsize=9)
        draw_3d(figure.add_subplot(2, columns, columns + column + 1, projection="3d"), joints_3d[column], half)
    handles = [
        figure.axes[0].plot([], [], color=c, lw=2.5, label=label)[0]
        for c, label in ((LEFT_COLOUR, "left"), (RIGHT_COLOUR, "right"), (MIDDLE_COLOUR, "middle"))
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return Path(path)


def draw_2d(axes, pixels: np.ndarray, confidence: np.ndarray) -> None:
    for joint in range(1, 17):
        bone = pixels[[PARENTS[joint], joint]]
        sure = confidence[[PARENTS[joint], joint]].min()
        axes.plot(*bone.T, color=colour(joint), lw=2, alpha=0.25 + 0.75 * sure, solid_capstyle="round")
    shades = [colour(joint) for joint in range(17)]
    axes.scatter(*pixels.T, s=9, c=shades, alpha=0.25 + 0.75 * confidence, zorder=3, linewidths=0)
    axes.set(xlim=(0, IMAGE), ylim=(IMAGE, 0), aspect="equal", xticks=[], yticks=[], facecolor="#f4f4f4")


def draw_3d(axes, joints: np.ndarray, half: float) -> None:
    """joints: (17, 3) mm, camera frame, within half mm of the middle of their own extent."""
    x, depth, up = joints[:, [0, 2, 1]].T * [[1], [1], [-1]]
    for joint in range(1, 17):
        bone = [PARENTS[joint], joint]
        axes.plot(x[bone], depth[bone], up[bone], color=colour(joint), lw=2.2, solid_capstyle="round")
    middle_x, middle_depth = (v.min() + np.ptp(v) / 2 for v in (x, depth))
    axes.set(
        xlim=(middle_x - half, middle_x + half),
        ylim=(middle_depth - half, middle_depth + half),
        zlim=(up.min(), up.min() + 2 * half),
    )
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.view_init(elev=8, azim=-65)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_ticklabels([])
        axis.set_tick_params(length=0)

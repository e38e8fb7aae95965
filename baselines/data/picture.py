"""Draw a data set: 2D detections above, their 3D poses below."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.normalization import denormalize
from liftbench.baselines.files import replacing
from liftbench.baselines.skeleton import LEFT, PARENTS, RIGHT

_COLUMN = 0.8375  # inches of a pose: four are as wide as a column of a paper, 85 mm
_ACTIONS = 4  # in a picture of a data set
# Wong's colour-blind safe palette.
LEFT_COLOUR, RIGHT_COLOUR, MIDDLE_COLOUR = "#0072B2", "#D55E00", "#444444"


def colour(joint: int) -> str:
    """Return the colour of the bone that ends in a joint."""
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
    titles: K. Left limbs are blue, right limbs orange. Raises InputError if path cannot be written.
    """
    columns = len(titles)
    half = 0.51 * np.ptp(joints_3d, axis=1).max()  # one scale for all
    half_image = 0.6 * np.ptp(joint_2d, axis=1).max()
    figure = Figure(figsize=(_COLUMN * columns, 2.3))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.07, top=0.85, wspace=0.03, hspace=0.03)
    for column in range(columns):
        flat = figure.add_subplot(2, columns, column + 1)
        draw_2d(flat, joint_2d[column], confidence[column], half_image)
        flat.set_title(titles[column], fontsize=6, pad=2)
        draw_3d(figure.add_subplot(2, columns, columns + column + 1, projection="3d"), joints_3d[column], half)
    handles = [
        figure.axes[0].plot([], [], color=c, lw=1.2, label=label)[0]
        for c, label in ((LEFT_COLOUR, "left"), (RIGHT_COLOUR, "right"), (MIDDLE_COLOUR, "middle"))
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=6.5)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=300)
    return Path(path)


def draw_dataset(dataset: Dataset, path: str | Path) -> Path:
    """Draw one test pose of each of four actions; the cameras take turns. See `draw`."""
    actions, names = dataset.actions("test")
    cameras, camera_names = dataset.cameras("test")
    index = []
    shown = np.linspace(0, len(names) - 1, min(_ACTIONS, len(names))).astype(int)
    for number, code in enumerate(np.unique(actions)[shown]):
        seen_by = np.flatnonzero((actions == code) & (cameras == number % len(camera_names)))
        frames = seen_by if len(seen_by) else np.flatnonzero(actions == code)
        index.append(frames[len(frames) // 2])
    index = np.array(index)
    titles = [f"{names[actions[frame]]}\n{camera_names[cameras[frame]]}\nframe {frame:,}" for frame in index.tolist()]
    pixels = denormalize(dataset.inputs("test", index), dataset.camera_resolution("test", index))[..., :2]
    return draw(pixels, dataset.inputs("test", index)[..., 2], dataset.ground_truth_mm("test", index), titles, path)


def draw_2d(axes: Axes, pixels: np.ndarray, confidence: np.ndarray, half: float) -> None:
    """Draw pixels, (17, 2), in the part of the image within `half` pixels of the person's middle."""
    for joint in range(1, 17):
        bone = pixels[[PARENTS[joint], joint]]
        sure = confidence[[PARENTS[joint], joint]].min()
        axes.plot(*bone.T, color=colour(joint), lw=1, alpha=0.25 + 0.75 * sure, solid_capstyle="round")
    shades = [colour(joint) for joint in range(17)]
    axes.scatter(*pixels.T, s=2.5, c=shades, alpha=0.25 + 0.75 * confidence, zorder=3, linewidths=0)
    x, y = (pixels.min(axis=0) + pixels.max(axis=0)) / 2
    limits = {"xlim": (x - half, x + half), "ylim": (y + half, y - half)}
    axes.set(**limits, aspect="equal", xticks=[], yticks=[], facecolor="#f4f4f4")


def draw_3d(axes: Axes, joints: np.ndarray, half: float) -> None:
    """Draw joints, (17, 3) mm, camera frame, which lie within `half` mm of the middle of their extent."""
    x, depth, up = joints[:, [0, 2, 1]].T * [[1], [1], [-1]]
    for joint in range(1, 17):
        bone = [PARENTS[joint], joint]
        axes.plot(x[bone], depth[bone], up[bone], color=colour(joint), lw=1.1, solid_capstyle="round")
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

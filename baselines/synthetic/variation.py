"""Vary recorded motion as if other people performed it: faster or slower, with bodies of other proportions."""

import numpy as np

from liftbench.baselines.skeleton import PARENTS

ANKLES = (3, 6)
SPEED = (0.7, 1.5)
SIZE, BONE, GIRDLE = 0.05, 0.06, 0.12  # standard deviations of the logarithms of lengths
MIDDLE, SIDES = (7, 8, 9, 10), ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))  # bones by the joint at their end
WIDE = (1, 14)  # hips and shoulders; data sets place them differently


def vary(world: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change speed and bone lengths, left and right alike: (T, 17, 3) mm, z up -> (T', 17, 3).

    The lowest ankle stays as high above the floor as it was.
    """
    speed = np.exp(rng.uniform(*np.log(SPEED)))
    at = np.arange(0, len(world) - 1, speed)
    before, share = at.astype(int), (at % 1)[:, None, None]
    world = world[before] * (1 - share) + world[before + 1] * share
    size = np.exp(SIZE * rng.standard_normal())
    factor = np.empty(17)
    for joint in MIDDLE:
        factor[joint] = size * np.exp(BONE * rng.standard_normal())
    for right, left in SIDES:
        factor[[right, left]] = size * np.exp((GIRDLE if right in WIDE else BONE) * rng.standard_normal())
    varied = world.copy()
    for joint in range(1, 17):
        parent = PARENTS[joint]
        varied[:, joint] = varied[:, parent] + factor[joint] * (world[:, joint] - world[:, parent])
    varied[..., 2] += world[:, ANKLES, 2].min() - varied[:, ANKLES, 2].min()
    return varied

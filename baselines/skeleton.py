"""The 17-joint Human3.6M skeleton that every model, metric and data set here shares.

Joint j's parent is PARENTS[j]; a horizontal flip negates x and swaps LEFT with RIGHT, pair by pair.
"""

JOINTS = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "thorax",
    "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
BONES = tuple(zip(PARENTS[1:], range(1, len(PARENTS))))  # (parent, child), in the order of the children
LEFT = (4, 5, 6, 11, 12, 13)
RIGHT = (1, 2, 3, 14, 15, 16)
LIMBS = (((1, 2, 3), (4, 5, 6)), ((14, 15, 16), (11, 12, 13)))  # right and left leg, right and left arm

# FLIP[j] is the joint whose place joint j takes in a mirror image.
FLIP = tuple(RIGHT[LEFT.index(j)] if j in LEFT else LEFT[RIGHT.index(j)] if j in RIGHT else j for j in range(17))

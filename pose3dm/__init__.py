from liftbench.pose3dm.model import Pose3DM
from liftbench.pose3dm.regularizer import fractional_total_variation

__all__ = ["Pose3DM", "fractional_total_variation"]

from .model import Pose3DM
from .regularizer import fractional_total_variation

__all__ = ["Pose3DM", "fractional_total_variation"]

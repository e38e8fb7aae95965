from liftbench.mdtf.model import (
    MDTF,
    BoneAware,
    Refinement,
    bone_class_loss,
    bone_class_scores,
    bone_features,
    polar_classes,
)

__all__ = [
    "MDTF", "BoneAware", "Refinement", "bone_class_loss", "bone_class_scores", "bone_features", "polar_classes",
]  # fmt: skip

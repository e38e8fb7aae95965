from liftbench.posemamba.model import PoseMamba

__all__ = ["PoseMamba"]

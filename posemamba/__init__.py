from .model import PoseMamba

__all__ = ["PoseMamba"]

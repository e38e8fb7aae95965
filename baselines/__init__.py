"""What all lifters share: registry, data, protocol, training. These names are the stable entry points."""

from .data import open_dataset
from .errors import InputError
from .evaluation import score
from .h36m import Human36M
from .registry import create_model, list_models
from .weights import load_weights

__all__ = ["Human36M", "InputError", "create_model", "list_models", "load_weights", "open_dataset", "score"]

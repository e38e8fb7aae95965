"""Public selective scans with the signature of `kernels.selective_scan`, if their packages are installed.

Each is called as its own package calls it. If it does not know groups or directions, it gets the form that is fastest
for it.
"""

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def public_scans() -> tuple[dict[str, Callable[..., torch.Tensor]], dict[str, str]]:
    """Return ({name: scan}, {name: why it cannot run here})."""
    scans, absent = {}, {}
    for name, (package, load) in _PEERS.items():
        try:
            scans[name] = load()
        except ModuleNotFoundError as error:
            absent[name] = f"{package} is not installed ({error})"
        except Exception as error:  # a package that does not fit this torch fails in many ways
            absent[name] = f"{package} cannot be imported ({type(error).__name__}: {error})".partition("\n")[0]
    return scans, absent


def _mambapy() -> Callable[..., Tensor]:
    """Return the scan of `MambaBlock.selective_scan` over mambapy's parallel scan."""
    pscan = importlib.import_module("mambapy.pscan").pscan

    def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
        groups = B.shape[1]
        u, delta = u.transpose(1, 2), F.softplus(delta.transpose(1, 2) + delta_bias)  # (B, L, channels)
        B, C = (tensor.permute(0, 3, 1, 2) for tensor in (B, C))  # (B, L, groups, N)
        decay = torch.exp(delta[..., None] * A)
        x = ((delta * u).unflatten(2, (groups, -1))[..., None] * B[:, :, :, None]).flatten(2, 3)
        y = (pscan(decay, x).unflatten(2, (groups, -1)) @ C[..., None]).squeeze(-1).flatten(2)
        return (y + D * u).transpose(1, 2)

    return scan


def _transformers() -> Callable[..., Tensor]:
    """Return the path of Hugging Face's Mamba without kernels. It has no groups, so they join the batch. That is right
    if all groups have the same A, D and bias, as here.
    """
    slow_path = importlib.import_module("transformers.models.mamba.modeling_mamba").mamba_selective_scan
    slow_path = getattr(slow_path, "__wrapped__", slow_path)  # without its search for a faster library

    def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
        batch, groups = B.shape[:2]
        channels = u.shape[1] // groups
        A_of_one, D_of_one, bias_of_one = A[:channels], D[:channels], delta_bias[:channels]
        if groups > 1 and not torch.equal(A, A_of_one.repeat(groups, 1)):
            raise ValueError("the path of transformers has no groups; give them the same A")
        u, delta = (tensor.reshape(batch * groups, channels, -1) for tensor in (u, delta))
        B, C = (tensor.flatten(0, 1) for tensor in (B, C))
        y = slow_path(u, delta, A_of_one, B, C, D_of_one, delta_bias=bias_of_one, delta_softplus=True)
        return y.reshape(batch, groups * channels, -1)

    return scan


def _mamba_ssm_reference() -> Callable[..., Tensor]:
    """Return mamba's own sequential reference."""
    reference = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_ref

    def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
        return reference(u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=True)

    return scan


_PEERS = {
    "mambapy": ("mambapy", _mambapy),
    "transformers": ("transformers", _transformers),
    "mamba-ssm reference": ("mamba-ssm", _mamba_ssm_reference),
}
PUBLIC = {"mamba_ssm", *_PEERS}  # contenders that other projects wrote

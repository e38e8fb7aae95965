"""The adapter to mamba-ssm, over a stand-in that has the library's documented signature."""

import sys

import pytest
import torch

from liftbench import kernels
from liftbench.kernels import mamba_ssm, reference

STAND_IN = """
import torch
from liftbench.kernels import reference

calls = []

def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
):
    assert delta_softplus and z is None and not return_last_state
    assert u.dtype == delta.dtype == B.dtype == C.dtype, "the library takes one type for all inputs"
    assert all(tensor.stride(-1) == 1 for tensor in (u, delta, B, C)), "the library reads the last axis contiguously"
    assert B.dim() == 4 and B.shape[2:] == (A.shape[1], u.shape[2])
    assert all(tensor is None or tensor.dtype == torch.float32 for tensor in (A, D, delta_bias))
    calls.append(u.dtype)
    return reference.selective_scan(u, delta, A, B, C, D, delta_bias)
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write the library's module with the given source, and import it."""

    def install(source=STAND_IN):
        folder = tmp_path / "mamba_ssm" / "ops"
        folder.mkdir(parents=True)
        (tmp_path / "mamba_ssm" / "__init__.py").write_text("")
        (folder / "__init__.py").write_text("")
        (folder / "selective_scan_interface.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
        del sys.modules[name]


def inputs(dtype=torch.float32, length=9):
    draw = torch.Generator().manual_seed(0)
    u, delta = (torch.randn(2, length, 6, generator=draw).to(dtype).transpose(1, 2) for _ in range(2))
    B, C = (torch.randn(2, length, 2, 4, generator=draw).to(dtype).permute(0, 2, 3, 1) for _ in range(2))
    tensors = [u, delta, -torch.rand(6, 4, generator=draw), B, C, torch.ones(6), torch.zeros(6)]
    return [tensor.requires_grad_() for tensor in tensors]


def test_why_it_cannot_run(library, monkeypatch):
    assert mamba_ssm.unusable("cpu") == "the scan of mamba-ssm runs on cuda, not on cpu"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert mamba_ssm.unusable("cuda").startswith("mamba-ssm is not installed; install it with")


def test_a_library_that_cannot_be_imported_says_why(library):
    library("raise ImportError('undefined symbol: c10\\nmore')")
    assert mamba_ssm.unusable("cuda") == (
        "mamba-ssm is installed but importing it fails with ImportError: undefined symbol: c10"
    )


def test_a_library_that_works_is_usable(library):
    library()
    assert mamba_ssm.unusable("cuda") is None
    assert mamba_ssm.unusable("cpu") is not None


def test_it_is_chosen_by_name_only(library, monkeypatch):
    library()
    monkeypatch.setattr(kernels.cpu, "unusable", lambda device_type: "not here")
    monkeypatch.setattr(kernels.gpu, "unusable", lambda device_type: "not here")
    assert kernels.choose("cuda") == "chunked"
    with kernels.using("mamba_ssm"):
        assert kernels.choose("cuda") == "mamba_ssm"
        with pytest.raises(
            kernels.ScanUnavailable, match="Cannot run the scan 'mamba_ssm' here: the scan of mamba-ssm runs on"
        ):
            kernels.choose("cpu")
        with pytest.raises(kernels.ScanUnavailable, match="the tensors are float64"):
            kernels.choose("cuda", torch.float64)


def test_the_library_gets_what_it_takes_and_gradients_come_back(library):
    library()
    tensors = inputs()
    y, expected = (scan(*tensors) for scan in (mamba_ssm.selective_scan, reference.selective_scan))
    torch.testing.assert_close(y, expected)
    gradients = (torch.autograd.grad(out.square().sum(), tensors) for out in (y, expected))
    torch.testing.assert_close(*gradients)
    u, delta, A, B, C, *_ = tensors
    torch.testing.assert_close(mamba_ssm.selective_scan(u, delta, A, B, C), reference.selective_scan(u, delta, A, B, C))


@pytest.mark.parametrize("mixed, inside", [(False, torch.bfloat16), (True, torch.float32)])
def test_half_precision_stays_where_all_inputs_have_it(library, mixed, inside):
    library()
    u, delta, *rest = inputs(torch.bfloat16)
    y = mamba_ssm.selective_scan(u, delta.float() if mixed else delta, *rest)
    assert y.dtype == torch.bfloat16
    assert sys.modules["mamba_ssm.ops.selective_scan_interface"].calls == [inside]


def test_the_fused_forms_are_composed(library):
    library()
    first, second = inputs(), [tensor.detach() * 0.5 for tensor in inputs()]
    torch.testing.assert_close(mamba_ssm.bidirectional_scan(first, second), reference.bidirectional_scan(first, second))
    draw = torch.Generator().manual_seed(0)
    orders, limb = kernels.scan_orders("posemamba", 3)
    weights = [torch.randn(*shape, generator=draw) for shape in ((2, 3, 17, 5), (4, 2 + 8, 5), (4, 5, 2), (4, 5))]
    arguments = *weights, -torch.rand(20, 4, generator=draw), torch.ones(20), orders, limb, "exact"
    torch.testing.assert_close(mamba_ssm.grid_scan(*arguments), reference.grid_scan(*arguments))

import pytest
import torch

from liftbench.kernels import cpu


@pytest.fixture
def poisoned():
    """Uninitialised memory is NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=["avx512", "avx2", "portable"])
def instruction_set(request):
    """The C++ kernels run with this instruction set."""
    try:
        yield cpu.use_instruction_set(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    finally:
        cpu.use_instruction_set("auto")

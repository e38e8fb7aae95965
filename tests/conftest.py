import resource

import pytest
import torch

from liftbench import Human36M
from liftbench.baselines.synthetic import motionbert

LONGEST = ("tests/kernels/test_gpu.py", "tests/test_packaging.py", "tests/bench/test_cli.py")


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that none of them runs at the end, when the other processes are idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def synthetic_file(tmp_path_factory):
    """A small file of the embedded data, with its cache beside it."""
    return motionbert.write(tmp_path_factory.mktemp("data") / "synthetic.pkl", frames=motionbert.FEWEST_FRAMES)


@pytest.fixture(scope="session")
def synthetic_dataset(synthetic_file):
    return Human36M(synthetic_file)


@pytest.fixture
def one_thread():
    """Use one thread: on a busy machine, tiny operators on several threads wait far longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def any_machine(monkeypatch):
    """Refuse no time, whatever other processes do and however far times spread, and know the ceilings, which take ten
    seconds to measure."""
    monkeypatch.setattr("liftbench.bench.measure.timing.OTHERS_SHARE", float("inf"))
    monkeypatch.setattr("liftbench.bench.measure.timing.SPREAD", float("inf"))
    ceilings = {"bandwidth_gb_per_s": 40.0, "product_gflop_per_s": 100.0}
    monkeypatch.setattr("liftbench.bench.measure.meters.ceilings", lambda device, dtype: ceilings)


@pytest.fixture(scope="session")
def small_reference(tmp_path_factory):
    """A folder for `results.REFERENCE` with one record: what comes with liftbench takes ten seconds to draw."""
    from support.records import cost, write

    folder = tmp_path_factory.mktemp("reference")
    write(folder / "records", cost("lstm"))
    return folder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Return (folder, Rendered) for a whole run's records: FOLDER/records, and FOLDER/out made from them."""
    from liftbench.bench.records import read
    from liftbench.bench.report.render import render
    from liftbench.bench.report.results import Results
    from support.records import everything

    folder = tmp_path_factory.mktemp("run")
    return folder, render(Results(read(everything(folder / "records"))), folder / "out")


@pytest.fixture
def full_disk():
    """A function full_disk(size): from then on the system refuses larger files, as a full disk would; None: no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield fill
    fill(None)

import pytest

from baselines import Human36M, synthetic


@pytest.fixture(scope="session")
def synthetic_file(tmp_path_factory):
    """A small file of the embedded data, with its cache beside it."""
    return synthetic.write(tmp_path_factory.mktemp("data") / "synthetic.pkl", frames=synthetic.FEWEST_FRAMES)


@pytest.fixture(scope="session")
def synthetic_dataset(synthetic_file):
    return Human36M(synthetic_file)

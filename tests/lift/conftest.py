"""BlazePose, from the user's cache or by pip; tests with its networks are skipped where there is no way to them."""

import pytest

from liftbench.baselines.errors import InputError
from liftbench.lift.video import blazepose_files


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """The paths of the two files."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            return blazepose_files.paths()
        except InputError:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
            patch.setenv("PIP_RETRIES", "0")
            patch.setenv("PIP_DEFAULT_TIMEOUT", "20")
            try:
                return blazepose_files.fetch()
            except InputError as error:
                pytest.skip(f"BlazePose is not here: {error}")

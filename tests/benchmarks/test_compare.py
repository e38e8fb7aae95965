import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compare.py")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_benchmarks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(path, **times):
    """Store a run of one shape; times: of chunked and cpu."""
    benchmarks = [
        {"group": "S, forward", "params": {"name": name}, "stats": {"min": seconds}} for name, seconds in times.items()
    ]
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return str(path)


def test_a_ratio_that_is_lost_fails(script, tmp_path, capsys):
    before = stored(tmp_path / "before.json", chunked=8.0, cpu=1.0)
    slower_machine = stored(tmp_path / "machine.json", chunked=24.0, cpu=3.0)
    slower_kernel = stored(tmp_path / "kernel.json", chunked=8.0, cpu=1.4)
    assert script.main([before, slower_machine]) == 0
    assert script.main([before, slower_kernel]) == 1
    assert "S, forward: 8 -> 5.71  LOST" in capsys.readouterr().out
    assert script.main([before, slower_kernel, "--allowed", "0.7"]) == 0


def test_runs_that_cannot_be_compared_are_refused(script, tmp_path, capsys):
    before, other = stored(tmp_path / "before.json", chunked=8.0, cpu=1.0), stored(tmp_path / "other.json", cpu=1.0)
    assert script.main([before, other]) == 2
    assert "have no ratio in common" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SystemExit) as error:
        script.main([before, str(tmp_path / "broken.json")])
    assert error.value.code == 2
    assert "broken.json is not a stored run of pytest-benchmark (JSONDecodeError)" in capsys.readouterr().err

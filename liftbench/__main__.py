"""`python -m liftbench` is `liftbench`: for launchers that start modules, such as `torchrun ... -m liftbench`."""

from liftbench.bench.cli import main

main()

"""`python -m liftbench` is `liftbench`: for launchers that start modules, such as `torchrun ... -m liftbench`."""

from liftbench.bench.cli import main

if __name__ == "__main__":  # not in the workers that multiprocessing spawns
    main()

"""`python -m bench` is `liftbench`: for launchers that start modules, as `torchrun -m -- bench train ...`."""

from .cli import main

main()

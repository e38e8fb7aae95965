"""The command `liftbench`, and `python -m liftbench` for launchers that start modules, such as `torchrun`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it in one line from its first import on."""
    try:
        from liftbench.bench import cli

        cli.main()
    except KeyboardInterrupt:
        print("interrupted: nothing has begun; start the same command again", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":  # not in the workers that multiprocessing spawns
    main()

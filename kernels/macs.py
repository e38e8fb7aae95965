"""The mamba authors' rule for what a selective scan costs."""


def scan_macs(batch, channels, length, states, skip=True):
    """Operations of one scan: 9 B L D N, plus B D L for the skip, with D channels of all directions together.

    Source: `flops_selective_scan_fn` of the VMamba and PoseMamba code. The rule counts operations of the associative
    (parallel) form; a sequential scan needs fewer.
    """
    return 9 * batch * length * channels * states + (batch * channels * length if skip else 0)

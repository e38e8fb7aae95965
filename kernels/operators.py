"""Common parts of the scans' torch operators: gradients, counts of operations, and a mark for tracing.

FlopCounterMode counts two operations per MAC and sees a fused kernel as one operator. The formula of such an operator
adds the scan (`scan_macs`) and the projections inside it. A backward pass counts twice, as PyTorch's own products do.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd.forward_ad import unpack_dual
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import register_flop_formula

_LIBRARY = torch.library.Library("liftbench", "FRAGMENT")
_FUNCTIONS: dict[str, Callable] = {}  # by name, what the operators run


def operator(name: str) -> Callable:
    """Make the decorated function torch.ops.liftbench.NAME. It must neither change nor return its arguments.

    `torch.library.custom_op` does the same, but imports torch._dynamo in its first call, which takes two seconds, and
    makes every call slower.
    """

    def define(function: Callable) -> Any:
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=torch.Tag.pt2_compliant_tag)
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        _FUNCTIONS[name] = function
        return getattr(torch.ops.liftbench, name)

    return define


def traced(name: str) -> Callable:
    """Make the decorated function what the operator liftbench::NAME does to tensors without values."""
    return torch.library.register_fake(f"liftbench::{name}", lib=_LIBRARY)


def scan_macs(batch: int, channels: int, length: int, states: int, skip: bool = True) -> int:
    """Return the operations of one scan, 9 B L D N plus B D L for the skip; D counts the channels of all directions.

    Source: `flops_selective_scan_fn` of the VMamba and PoseMamba code. The rule counts operations of the associative
    (parallel) form; a sequential scan needs fewer.
    """
    return 9 * batch * length * channels * states + (batch * channels * length if skip else 0)


def constant_when_traced(function: Callable) -> Callable:
    """Replace `torch.compiler.assume_constant_result`, which imports torch._dynamo for more than a second."""
    function._dynamo_marked_constant = True
    return function


def has_tangents(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether any tensor takes part in forward-mode differentiation (`torch.func.jvp`, dual numbers)."""
    return any(unpack_dual(tensor).tangent is not None for tensor in tensors)


def in_transform() -> bool:
    """Return whether a transform of torch.func, such as `grad` or `vmap`, is running."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


class ScanUnavailable(RuntimeError):
    """The named scan cannot run here; the message says why and what to do."""


class _Once(torch.autograd.Function):
    """Returns the gradients of a scan, which depend on `count` tensors in a way that has no derivative here."""

    generate_vmap_rule = True

    @staticmethod
    def forward(name: str, count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(gradient.clone() for gradient in tensors[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.operator = inputs[0]

    @staticmethod
    def backward(ctx: Any, *_) -> None:
        raise ScanUnavailable(
            f"Cannot differentiate {ctx.operator} twice: it has no second derivative. Use the scan 'reference'."
        )


def once(name: str, causes: Iterable[torch.Tensor | None], gradients: Any) -> Any:
    """Return gradients of the operator `name`, computed without a graph from `causes`, so that a second derivative of
    them is ScanUnavailable instead of zero."""
    if not torch.is_grad_enabled():
        return gradients
    sizes, leaves = _flat(gradients)
    own = [leaf for leaf in leaves if leaf is not None]
    causes = [tensor for tensor in causes if tensor is not None and tensor.is_floating_point()]
    marked = iter(_Once.apply(name, len(causes), *causes, *own))
    return _nested(sizes, [leaf if leaf is None else next(marked) for leaf in leaves])


def register_gradients(name: str, save: Callable, differentiate: Callable) -> Callable:
    """Register the gradients of liftbench::NAME, and how it and its backward operator run under `torch.func.vmap`.

    save(ctx, inputs, output) is that of `torch.library.register_autograd`. So is differentiate(ctx, saved, *gradients),
    but for the saved tensors, because gradient checkpointing gives them once. Returns what to call instead of the
    operator: the transforms of torch.func need an autograd.Function around it.
    """
    forward_operator, backward_operator = _both(name)

    def differentiate_once(ctx: Any, *dy: torch.Tensor) -> tuple:
        saved = ctx.saved_tensors
        with torch.no_grad():
            gradients = differentiate(ctx, saved, *dy)
        return once(name, (*dy, *saved), gradients)

    class Transformed(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(sizes: list[int | None], *leaves: Any) -> Any:
            return forward_operator(*_nested(sizes, leaves))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
            sizes, *leaves = inputs
            save(ctx, _nested(sizes, leaves), output)

        @staticmethod
        def backward(ctx: Any, *dy: torch.Tensor) -> tuple:
            return None, *_flat(differentiate_once(ctx, *dy))[1]

    class Unobserved(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, sizes: list[int | None], *leaves: Any) -> Any:
            inputs = _nested(sizes, leaves)
            output = _FUNCTIONS[name](*inputs)
            save(ctx, inputs, output)
            return output

        backward = Transformed.backward

    def run(*arguments: Any) -> Any:
        if in_transform():
            function = Transformed
        elif not _is_unobserved(arguments):
            return forward_operator(*arguments)
        elif not torch.is_grad_enabled():
            return _FUNCTIONS[name](*arguments)
        else:
            function = Unobserved
        sizes, leaves = _flat(arguments)
        return function.apply(sizes, *leaves)

    torch.library.register_autograd(f"liftbench::{name}", differentiate_once, setup_context=save, lib=_LIBRARY)
    for each in (forward_operator, backward_operator):
        torch.library.register_vmap(each._qualified_op_name, functools.partial(_one_by_one, each), lib=_LIBRARY)
    return run


def call_operator(name: str, *arguments: Any) -> Any:
    """Run liftbench::NAME, without torch's dispatcher if nothing would notice. Autograd must not be needed here."""
    return (_FUNCTIONS[name] if _is_unobserved(arguments) else getattr(torch.ops.liftbench, name))(*arguments)


def register_gradients_of_arguments(name: str) -> Callable:
    """Register the gradients of liftbench::NAME(tensors..., settings...) -> y, and return what to call.

    Its backward operator is liftbench::NAME_backward(dy, tensors..., settings...) and returns the tensors' gradients.
    """

    def save(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, torch.Tensor)))
        ctx.settings = [value for value in inputs if not isinstance(value, torch.Tensor)]

    def differentiate(ctx: Any, saved: tuple, dy: torch.Tensor) -> tuple:
        return *call_operator(f"{name}_backward", dy, *saved, *ctx.settings), *[None] * len(ctx.settings)

    return register_gradients(name, save, differentiate)


def are_operators_watched() -> bool:
    """Return whether a trace, a transform, a mode or the profiler sees or replaces the operators that run."""
    return (
        torch.compiler.is_compiling()
        or in_transform()
        or torch.autograd._profiler_enabled()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _is_unobserved(arguments: Iterable[Any]) -> bool:
    """Return whether neither these arguments nor anything else needs the dispatcher.

    It would then do nothing, but with a short clip take longer than the operator itself.
    """
    return not are_operators_watched() and all(map(_is_plain, arguments))


def _is_plain(value: Any) -> bool:
    """Return whether a value holds no tensor of a subclass or of the meta device."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if not isinstance(value, torch.Tensor):
        return True
    return type(value) in (torch.Tensor, torch.nn.Parameter) and not value.is_meta


def _flat(values: Iterable[Any]) -> tuple[list[int | None], list[Any]]:
    """Return the length of every list of tensors among the values, None for anything else, and all leaves."""
    sizes, leaves = [], []
    for value in values:
        several = isinstance(value, list | tuple) and any(isinstance(each, torch.Tensor) for each in value)
        sizes.append(len(value) if several else None)
        leaves.extend(value if several else [value])
    return sizes, leaves


def _nested(sizes: Iterable[int | None], leaves: Iterable[Any]) -> tuple[Any, ...]:
    """Undo `_flat`."""
    rest = iter(leaves)
    return tuple(next(rest) if size is None else list(itertools.islice(rest, size)) for size in sizes)


def _one_by_one(operator: Any, info: Any, in_dims: tuple, *arguments: Any) -> tuple:
    """Run an operator for every sample of `torch.func.vmap`, as the sums inside a backward pass demand."""

    def sample(i: int) -> tuple:
        def pick(value: Any, dim: Any) -> Any:
            if isinstance(value, list | tuple) and dim is not None:
                return [pick(*pair) for pair in zip(value, dim, strict=True)]
            return value.select(dim, i) if isinstance(value, torch.Tensor) and dim is not None else value

        return operator(*pick(arguments, in_dims))

    samples = [sample(i) for i in range(info.batch_size)]
    y = tree_map(lambda *parts: torch.stack(parts), *samples)
    return y, tree_map(lambda _: 0, y)


def without_gradients(ctx: Any, *kept: torch.Tensor) -> None:
    """Keep autograd from making gradients of zeros for what is only kept for the backward pass."""
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)


def register_scan(name: str) -> Callable:
    """Register gradients and counts of liftbench::NAME(tensors, keep) -> (y, kept); return what to call.

    Its backward operator is liftbench::NAME_backward(dy, tensors, kept) -> gradients. tensors: [u, delta, A, B, C, D,
    delta_bias] of one stream or two.
    """
    scan, scan_backward = _both(name)

    def save(ctx: Any, inputs: tuple, output: tuple):
        ctx.save_for_backward(*inputs[0], output[1])
        without_gradients(ctx, output[1])

    def differentiate(ctx: Any, saved: tuple, dy: torch.Tensor, _: Any) -> tuple:
        *tensors, kept = saved
        if not kept.numel():  # traced without gradients, for example by torch.export, but run with them
            _, kept = scan(tensors, True)
        return call_operator(f"{name}_backward", dy, tensors, kept), None

    def operations(tensors: list[tuple[int, ...]], *_, **__) -> int:
        batch, channels, length = tensors[0]
        return 2 * len(tensors) // 7 * scan_macs(batch, channels, length, states=tensors[2][1])

    register_flop_formula(scan)(operations)
    register_flop_formula(scan_backward)(lambda dy, *arguments, **__: 2 * operations(*arguments))
    return register_gradients(name, save, differentiate)


def register_grid_scan(name: str, projects: bool) -> Callable:
    """Register gradients and counts of liftbench::NAME(x, projection, dt_weight, dt_bias, A, ..., keep).
    Return what to call.

    It returns (y, kept...) for x: (B, T, J, C). Its backward operator is liftbench::NAME_backward(dy, tensors...,
    kept..., settings...) and returns the gradients of the first tensors. Settings follow the tensors in the arguments.
    projects: whether the operator itself multiplies by the projection's weight (K, R + 2N, C).
    """
    scan, scan_backward = _both(name)

    def save(ctx: Any, inputs: tuple, output: tuple):
        *inputs, _ = inputs
        tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
        ctx.tensors, ctx.settings = len(tensors), inputs[len(tensors) :]
        ctx.save_for_backward(*tensors, *output[1:])
        without_gradients(ctx, *output[1:])

    def differentiate(ctx: Any, saved: tuple, dy: torch.Tensor, *_) -> tuple:
        tensors, kept = saved[: ctx.tensors], saved[ctx.tensors :]
        if not kept[-1].numel():  # as above
            _, *kept = scan(*tensors, *ctx.settings, True)
        gradients = call_operator(f"{name}_backward", dy, *tensors, *kept, *ctx.settings)
        return *gradients, *[None] * (len(tensors) - len(gradients) + len(ctx.settings) + 1)

    def operations(
        x: tuple[int, ...],
        projection: tuple[int, ...],
        dt_weight: tuple[int, ...],
        dt_bias: tuple[int, ...],
        A: tuple[int, ...],
        *_,
        **__,
    ) -> int:
        (batch, *grid, channels), (directions, _, rank), states = x, dt_weight, A[1]
        length = math.prod(grid)
        products = rank + (rank + 2 * states if projects else 0)
        scans = scan_macs(batch, directions * channels, length, states)
        return 2 * (scans + batch * length * directions * channels * products)

    register_flop_formula(scan)(operations)
    register_flop_formula(scan_backward)(lambda dy, *arguments, **__: 2 * operations(*arguments))
    return register_gradients(name, save, differentiate)


def _both(name: str) -> tuple[Any, Any]:
    return getattr(torch.ops.liftbench, name), getattr(torch.ops.liftbench, f"{name}_backward")

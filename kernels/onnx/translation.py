"""What `steps` is in ONNX: a softplus and one `Scan`. Importing this module needs onnxscript."""

import torch
from onnxscript import FLOAT, graph, script
from onnxscript import opset18 as op

import liftbench.kernels.onnx  # noqa: F401  registers the operator


@script()
def steps(u: FLOAT, delta: FLOAT, A: FLOAT, B: FLOAT, C: FLOAT, bias: FLOAT) -> FLOAT:
    """Translate liftbench::steps. Inside the Scan: delta_t, x_t: (G, B, 1, D); B_t: (G, B, N, 1); C_t: (G, B, 1, N).

    softplus is max(z, 0) + log1p(e) with e = exp(-|z|), because ONNX Runtime's own takes a hundred times as long as its
    exp. log1p(e) is log(w) e / (w - 1) with w = 1 + e as rounded, accurate for small e too (Higham 2002, section
    1.14.1); the smallest number keeps 0 / 0 away.
    """

    A_t = op.Unsqueeze(A, op.Constant(value_ints=[1]))

    @graph()
    def step(h, delta_t, x_t, B_t, C_t):
        after = op.Add(op.Mul(op.Exp(op.Mul(delta_t, A_t)), h), op.MatMul(B_t, x_t))
        y_t = op.MatMul(C_t, after)
        return after, y_t

    one = op.Constant(value_float=1.0)
    z = op.Add(delta, op.Unsqueeze(bias, op.Constant(value_ints=[1, 2])))
    e = op.Exp(op.Neg(op.Abs(z)))
    w = op.Add(one, e)
    quotient = op.Div(e, op.Add(op.Sub(w, one), op.Constant(value_float=1e-30)))
    positive = op.Add(op.Relu(z), op.Mul(op.Log(w), quotient))

    last_but_one, last = op.Constant(value_ints=[3]), op.Constant(value_ints=[4])
    deltas = op.Unsqueeze(op.Transpose(positive, perm=[1, 0, 2, 3]), last_but_one)
    xs = op.Unsqueeze(op.Transpose(op.Mul(positive, u), perm=[1, 0, 2, 3]), last_but_one)
    Bs = op.Unsqueeze(op.Transpose(B, perm=[1, 0, 2, 3]), last)
    Cs = op.Unsqueeze(op.Transpose(C, perm=[1, 0, 2, 3]), last_but_one)
    shape = op.Concat(op.Shape(deltas, start=1, end=3), op.Shape(A, start=1), axis=0)
    start = op.Expand(op.Constant(value_float=0.0), shape)
    final, ys = op.Scan(start, deltas, xs, Bs, Cs, body=step, num_scan_inputs=4)
    return op.Transpose(op.Squeeze(ys, last_but_one), perm=[1, 0, 2, 3])


TRANSLATIONS = {torch.ops.liftbench.steps.default: steps}  # torch.onnx.export's custom_translation_table

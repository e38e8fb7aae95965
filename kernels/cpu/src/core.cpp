// The kernels of one instruction set. setup.py compiles this file once per set, with the compiler flags of the set and
// KERNELS as the name of the result. Everything else has internal linkage, so no set can link to another set's code.
#include "grid.h"
#include "layers/block.h"
#include "layers/mixer.h"
#include "layers/mlp.h"
#include "layers/steps.h"
#include "stream.h"

namespace {

void elementary(const float* x, float* exp, float* softplus, float* sigmoid, int64_t n) {
  const Softplus f;
  for (int64_t i = 0; i < n; i += W) {
    const int some = at_most(W, n - i);
    const Vec v = load(x + i, some), w = f.w(v);
    store(exp + i, f.exp.of<true>(v * splat(Exp::scale)), some);
    store(softplus + i, f.of(v, w), some);
    store(sigmoid + i, f.derivative(v, w), some);
  }
}

}  // namespace

extern const Kernels KERNELS;
const Kernels KERNELS = {
    W, scan_forward, scan_backward, grid_forward, grid_backward, conv_silu, conv_silu_backward, steps_conv_silu,
    steps_conv_silu_backward, norm_gate, norm_gate_backward, linear, linear_backward, mlp, mlp_backward,
    mixer, mixer_backward, elementary};

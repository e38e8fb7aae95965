// The recurrence over one chunk of time for a block of W channels (one per lane), forwards and backwards.
// Everything here stays in registers and the first-level cache; packing the chunks is the business of the callers.
//
// bc holds one row per step, `stride` floats apart: B at bc[0 .. N), C at bc[N .. 2N), shared by all channels.
// A is prescaled by Exp::scale. `clamp` allows any delta * A, not only those within the range of Exp.
#pragma once
#include "elementary.h"

namespace {

// h = exp(delta A) h + x B;  y += C . h, for S states. x = delta u.
template <int S, bool clamp>
__attribute__((noinline)) void advance(int steps, int states, const Vec* delta, const Vec* x, const float* bc,
                                       int64_t stride, const Vec* A, Vec* state, Vec* y) {
  const Exp exp;
  Vec h[S];
#pragma GCC unroll 16
  for (int n = 0; n < S; n++) h[n] = state[n];
  for (int t = 0; t < steps; t++, bc += stride) {
    Vec even = y[t], odd = splat(0);
#pragma GCC unroll 16
    for (int n = 0; n < S; n++) {
      h[n] = fma(exp.of<clamp>(delta[t] * A[n]), h[n], x[t] * splat(bc[n]));
      Vec& sum = n % 2 ? odd : even;
      sum = fma(h[n], splat(bc[states + n]), sum);
    }
    y[t] = even + odd;
  }
#pragma GCC unroll 16
  for (int n = 0; n < S; n++) state[n] = h[n];
}

// delta becomes softplus(delta + bias), x = delta u, and y, which holds u, becomes D u. Returns the largest delta.
inline Vec discretise(int steps, Vec bias, Vec D, const Softplus& softplus, Vec* delta, Vec* x, Vec* y) {
  Vec largest = splat(0);
  for (int t = 0; t < steps; t++) {
    const Vec raw = delta[t] + bias;
    delta[t] = softplus.of(raw, softplus.w(raw));
    x[t] = delta[t] * y[t];
    y[t] = D * y[t];
    largest = max(largest, delta[t]);
  }
  return largest;
}

// As many states at once as the registers hold.
constexpr int states_at_once = W == 16 ? 16 : 4;

template <bool clamp>
void advance_all(int steps, int states, const Vec* delta, const Vec* x, const float* bc, int64_t stride, const Vec* A,
                 Vec* state, Vec* y) {
  int n = 0;
  for (; n + states_at_once <= states; n += states_at_once)
    advance<states_at_once, clamp>(steps, states, delta, x, bc + n, stride, A + n, state + n, y);
  for (; n < states; n++) advance<1, clamp>(steps, states, delta, x, bc + n, stride, A + n, state + n, y);
}

// Whether delta * A can leave the range of Exp for deltas up to `largest`, lane by lane; also if any is NaN.
inline bool needs_clamp(Vec largest, const Vec* A, int states) {
  bool inside = true;
  for (int n = 0; n < states; n++) {
    Vec z = largest * A[n];
    for (int i = 0; i < W; i++) inside &= z[i] >= Exp::lowest && z[i] <= Exp::highest;
  }
  return !inside;
}

// One checkpoint interval of up to Q blocks of channels, backwards.
constexpr int interval = 32;
struct BlockGradient {
  Vec u[interval], delta[interval], dy[interval];  // per step; delta before softplus at first
  Vec slope[interval];                             // of softplus
  Vec x[interval];                                 // delta u
  Vec g_B[interval];                               // sum over states of g B = dL/dx, where g = dL/dh; then dL/du
  Vec g_A[interval];  // sum of Exp::scale times what comes through exp(delta A); then dL/ddelta before softplus

  // Everything that retreat() needs, from u, delta and dy; returns the largest delta.
  Vec enter(int steps, Vec bias, const Softplus& softplus) {
    Vec largest = splat(0);
    for (int t = 0; t < steps; t++) {
      const Vec raw = delta[t] + bias, w = softplus.w(raw);
      delta[t] = softplus.of(raw, w);
      slope[t] = softplus.derivative(raw, w);
      x[t] = delta[t] * u[t];
      g_B[t] = g_A[t] = splat(0);
      largest = max(largest, delta[t]);
    }
    return largest;
  }
  void leave(int steps, Vec D, Vec& dD, Vec& dbias) {
    const Vec unscale = splat(1 / Exp::scale);
    for (int t = 0; t < steps; t++) {
      g_A[t] = fma(g_A[t], unscale, u[t] * g_B[t]) * slope[t];
      g_B[t] = fma(delta[t], g_B[t], D * dy[t]);
      dD = fma(dy[t], u[t], dD);
      dbias += g_A[t];
    }
  }
};

// For S states of Q blocks: recompute the states from the checkpoint, then run back. carry: a_(t+1) g_(t+1).
// d_bc has one vector for every float of bc, to be summed over lanes when all blocks have been added.
template <int Q, int S, bool clamp>
__attribute__((noinline)) void retreat(int steps, int states, BlockGradient* blocks, const float* bc, int64_t stride,
                                       const Vec* A, const Vec* checkpoint, Vec* carry, Vec* dA, Vec* d_bc) {
  constexpr int M = Q * S;
  Vec decay[interval][M], before[interval][M];
  Vec h[M];
  {
    const Exp exp;
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) h[m] = checkpoint[m / S * states + m % S];
    for (int t = 0; t < steps; t++) {
#pragma GCC unroll 16
      for (int m = 0; m < M; m++) {
        const BlockGradient& block = blocks[m / S];
        Vec a = exp.of<clamp>(block.delta[t] * A[m / S * states + m % S]);
        before[t][m] = h[m];
        decay[t][m] = a;
        h[m] = fma(a, h[m], block.x[t] * splat(bc[t * stride + m % S]));
      }
    }
  }
  Vec c[M], a_sum[M], scaled_A[M];
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    c[m] = carry[m / S * states + m % S];
    a_sum[m] = dA[m / S * states + m % S];
    scaled_A[m] = A[m / S * states + m % S];
  }
  for (int t = steps - 1; t >= 0; t--) {
    Vec g_B[Q], g_A[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; q++) g_B[q] = blocks[q].g_B[t], g_A[q] = blocks[q].g_A[t];
#pragma GCC unroll 4
    for (int s = 0; s < S; s++) {
      Vec b_sum = d_bc[t * stride + s], c_sum = d_bc[t * stride + states + s];
      Vec B = splat(bc[t * stride + s]), C = splat(bc[t * stride + states + s]);
#pragma GCC unroll 4
      for (int q = 0; q < Q; q++) {
        int m = q * S + s;
        Vec g = fma(C, blocks[q].dy[t], c[m]);
        c_sum = fma(blocks[q].dy[t], h[m], c_sum);
        b_sum = fma(g, blocks[q].x[t], b_sum);
        g_B[q] = fma(g, B, g_B[q]);
        c[m] = g * decay[t][m];
        h[m] = before[t][m];
        Vec gh = c[m] * h[m];
        g_A[q] = fma(gh, scaled_A[m], g_A[q]);
        a_sum[m] = fma(gh, blocks[q].delta[t], a_sum[m]);
      }
      d_bc[t * stride + s] = b_sum;
      d_bc[t * stride + states + s] = c_sum;
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; q++) blocks[q].g_B[t] = g_B[q], blocks[q].g_A[t] = g_A[q];
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    carry[m / S * states + m % S] = c[m];
    dA[m / S * states + m % S] = a_sum[m];
  }
}

template <int Q, bool clamp>
void retreat_all(int steps, int states, BlockGradient* blocks, const float* bc, int64_t stride, const Vec* A,
                 const Vec* checkpoint, Vec* carry, Vec* dA, Vec* d_bc) {
  constexpr int S = 2;
  int n = 0;
  for (; n + S <= states; n += S)
    retreat<Q, S, clamp>(steps, states, blocks, bc + n, stride, A + n, checkpoint + n, carry + n, dA + n, d_bc + n);
  for (; n < states; n++)
    retreat<Q, 1, clamp>(steps, states, blocks, bc + n, stride, A + n, checkpoint + n, carry + n, dA + n, d_bc + n);
}

}  // namespace

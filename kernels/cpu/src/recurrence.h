// The recurrence over one chunk of time for a block of W channels (one per lane), forwards and backwards.
// Everything here stays in registers and the first-level cache; the callers pack the chunks.
//
// bc holds one row per step, `stride` floats apart: B at bc[0 .. N), C at bc[N .. 2N), shared by all channels.
// A is prescaled by Exp::scale. `clamp` allows any delta * A, not only those within the range of Exp.
#pragma once
#include "elementary.h"
#include "memory.h"

namespace {

// States at once, as the registers hold them; of these, exponentials at once, where a core does not find enough of them by
// itself; and lines to prefetch, so that every line has its turn. Measured, as all such numbers here.
constexpr int states_at_once = W == 16 ? 16 : 4, side_by_side = W == 16 ? 1 : 4, lines_at_once = W == 16 ? 3 : 1;

// h = exp(delta A) h + x B;  y += C . h, for S states. x = delta u.
template <int S, bool clamp>
__attribute__((noinline)) void advance(int steps, int states, const Vec* delta, const Vec* x, const float* bc,
                                       int64_t stride, const Vec* A, Vec* state, Vec* y, Upcoming& ahead) {
  constexpr int U = S < side_by_side ? S : side_by_side;
  const Exp exp;
  Sweep sweep(ahead);
  Vec h[S];
#pragma GCC unroll 16
  for (int n = 0; n < S; n++) h[n] = state[n];
  const float *B = bc, *C = bc + states;
  for (int t = 0; t < steps; t++, B += stride, C += stride) {
    for (int i = 0; i < lines_at_once; i++) sweep.prefetch();
    Vec even = y[t], odd = splat(0);
#pragma GCC unroll 16
    for (int first = 0; first < S; first += U) {
      Vec decay[U];
      exp.decays<clamp, U>(delta[t], A + first, decay);
#pragma GCC unroll 4
      for (int i = 0; i < U; i++) {
        const int n = first + i;
        h[n] = fma(decay[i], h[n], x[t] * splat(B[n]));
        Vec& sum = n % 2 ? odd : even;
        sum = fma(h[n], splat(C[n]), sum);
      }
    }
    y[t] = even + odd;
  }
#pragma GCC unroll 16
  for (int n = 0; n < S; n++) state[n] = h[n];
}

// delta becomes softplus(delta + bias), U steps side by side; then use(t, delta, raw, w) for each, with raw and w as in
// Softplus.
template <int U, class Use>
ALWAYS_INLINE void soften_some(const Softplus& softplus, int t, Vec bias, Vec* delta, Vec& largest, const Use& use) {
  Vec raw[U], w[U];
#pragma GCC unroll 4
  for (int i = 0; i < U; i++) raw[i] = delta[t + i] + bias;
  softplus.w<U>(raw, w);
#pragma GCC unroll 4
  for (int i = 0; i < U; i++) {
    const Vec soft = delta[t + i] = softplus.of(raw[i], w[i]);
    use(t + i, soft, raw[i], w[i]);
    largest = max(soft, largest);  // which ignores NaN
  }
}
// All steps; returns the largest delta.
template <class Use>
ALWAYS_INLINE Vec soften(const Softplus& softplus, int steps, Vec bias, Vec* delta, const Use& use) {
  Vec largest = splat(0);
  int t = 0;
  for (; t + 4 <= steps; t += 4) soften_some<4>(softplus, t, bias, delta, largest, use);
  for (; t < steps; t++) soften_some<1>(softplus, t, bias, delta, largest, use);
  return largest;
}

// Softens delta; x = delta u, and y, which holds u, becomes D u. Returns the largest delta.
__attribute__((noinline)) Vec discretise(int steps, Vec bias, Vec D, Vec* delta, Vec* x, Vec* y) {
  return soften(Softplus(), steps, bias, delta, [&](int t, Vec soft, Vec, Vec) {
    x[t] = soft * y[t];
    y[t] = D * y[t];
  });
}

template <bool clamp>
void advance_all(int steps, int states, const Vec* delta, const Vec* x, const float* bc, int64_t stride, const Vec* A,
                 Vec* state, Vec* y, Upcoming& ahead) {
  int n = 0;
  for (; n + states_at_once <= states; n += states_at_once)
    advance<states_at_once, clamp>(steps, states, delta, x, bc + n, stride, A + n, state + n, y, ahead);
  for (; n < states; n++) advance<1, clamp>(steps, states, delta, x, bc + n, stride, A + n, state + n, y, ahead);
}

// Returns whether delta * A can leave the range of Exp in any lane, for deltas up to `largest`.
inline bool needs_clamp(Vec largest, const Vec* A, int states) {
  IVec inside = ~IVec{};
  for (int n = 0; n < states; n++) {
    const Vec z = largest * A[n];
    inside &= (z >= splat(Exp::lowest)) & (z <= splat(Exp::highest));
  }
  int outside = 0;
  for (int i = 0; i < W; i++) outside |= ~inside[i];
  return outside;
}

constexpr int interval = 32;
struct BlockGradient {
  // Does not divide a page: a load waits for an earlier store at the same offset in a page.
  static constexpr int apart = interval + 9;
  Vec u[apart], delta[apart], dy[apart];      // per step; delta before softplus at first
  Vec slope[apart];                           // of softplus
  Vec x[apart];                               // delta u
  Vec g_B[apart];                             // sum over states of g B = dL/dx, where g = dL/dh; then dL/du
  Vec g_A[apart];  // sum of Exp::scale times the gradient through exp(delta A); then dL/ddelta before softplus

  // Everything that retreat() needs, from u, delta and dy; returns the largest delta.
  __attribute__((noinline)) Vec enter(int steps, Vec bias) {
    const Softplus softplus;
    return soften(softplus, steps, bias, delta, [&](int t, Vec soft, Vec raw, Vec w) {
      slope[t] = softplus.derivative(raw, w);
      x[t] = soft * u[t];
      g_B[t] = g_A[t] = splat(0);
    });
  }
  __attribute__((noinline)) void leave(int steps, Vec D, Vec& dD, Vec& dbias) {
    const Vec unscale = splat(1 / Exp::scale);
    Vec D_sum = dD, bias_sum = dbias;
    for (int t = 0; t < steps; t++) {
      g_A[t] = fma(g_A[t], unscale, u[t] * g_B[t]) * slope[t];
      g_B[t] = fma(delta[t], g_B[t], D * dy[t]);
      D_sum = fma(dy[t], u[t], D_sum);
      bias_sum += g_A[t];
    }
    dD = D_sum;
    dbias = bias_sum;
  }
};

// For S states of Q blocks: recompute the states from the checkpoint, then run back. carry: a_(t+1) g_(t+1).
// d_bc has one vector for every float of bc, to be summed over lanes when all blocks have been added.
template <int Q, int S, bool clamp>
__attribute__((noinline)) void retreat(int steps, int states, BlockGradient* blocks, const float* bc, int64_t stride,
                                       const Vec* A, const Vec* checkpoint, Vec* carry, Vec* dA, Vec* d_bc,
                                       Upcoming& ahead) {
  constexpr int M = Q * S;
  Vec decay[interval][M], before[interval][M];
  Vec h[M];
  Sweep sweep(ahead);
  {
    const Exp exp;
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) h[m] = checkpoint[m / S * states + m % S];
    for (int t = 0; t < steps; t++) {
      sweep.prefetch();
      Vec c_sum[S];
#pragma GCC unroll 4
      for (int s = 0; s < S; s++) c_sum[s] = d_bc[t * stride + states + s];
#pragma GCC unroll 4
      for (int q = 0; q < Q; q++) {
        const Vec x = blocks[q].x[t], dy = blocks[q].dy[t];
        Vec a[S];
        exp.decays<clamp, S>(blocks[q].delta[t], A + q * states, a);
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) {
          const int m = q * S + s;
          before[t][m] = h[m];
          decay[t][m] = a[s];
          h[m] = fma(a[s], h[m], x * splat(bc[t * stride + s]));
          c_sum[s] = fma(dy, h[m], c_sum[s]);
        }
      }
#pragma GCC unroll 4
      for (int s = 0; s < S; s++) d_bc[t * stride + states + s] = c_sum[s];
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
    sweep.prefetch();
    Vec g_B[Q], g_A[Q], dy[Q], x[Q], delta[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; q++) {
      dy[q] = blocks[q].dy[t], x[q] = blocks[q].x[t], delta[q] = blocks[q].delta[t];
      g_B[q] = blocks[q].g_B[t], g_A[q] = blocks[q].g_A[t];
    }
#pragma GCC unroll 4
    for (int s = 0; s < S; s++) {
      Vec b_sum = d_bc[t * stride + s];
      Vec B = splat(bc[t * stride + s]), C = splat(bc[t * stride + states + s]);
#pragma GCC unroll 4
      for (int q = 0; q < Q; q++) {
        int m = q * S + s;
        Vec g = fma(C, dy[q], c[m]);
        b_sum = fma(g, x[q], b_sum);
        g_B[q] = fma(g, B, g_B[q]);
        c[m] = g * decay[t][m];
        const Vec gh = c[m] * before[t][m];
        g_A[q] = fma(gh, scaled_A[m], g_A[q]);
        a_sum[m] = fma(gh, delta[q], a_sum[m]);
      }
      d_bc[t * stride + s] = b_sum;
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
                 const Vec* checkpoint, Vec* carry, Vec* dA, Vec* d_bc,
                 Upcoming& ahead) {
  constexpr int S = 2;
  int n = 0;
  for (; n + S <= states; n += S)
    retreat<Q, S, clamp>(steps, states, blocks, bc + n, stride, A + n, checkpoint + n, carry + n, dA + n, d_bc + n,
                         ahead);
  for (; n < states; n++)
    retreat<Q, 1, clamp>(steps, states, blocks, bc + n, stride, A + n, checkpoint + n, carry + n, dA + n, d_bc + n,
                         ahead);
}

}  // namespace

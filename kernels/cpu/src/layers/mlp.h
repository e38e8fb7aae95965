// Two linear layers with GELU between them: y = W2 gelu(W1 x + b1) + b2, some rows at a time, so that the hidden values stay
// in the second cache. The backward pass keeps nothing but the inputs and computes the hidden values again.
#pragma once
#include "product.h"

namespace {

// gelu(x) = x P(x), with P the distribution function of the normal distribution, and its derivative P(x) + x p(x).
// P(-|x|) = p(x) (c[0] t + ... + c[4] t^5), t = 1 / (1 + 0.2316419 |x|), with an absolute error below 1e-7 (Abramowitz and
// Stegun 26.2.17).
struct Gelu {
  static constexpr float c[5] = {0.319381530f, -0.356563782f, 1.781477937f, -1.821255978f, 1.330274429f};
  Exp exp;

  ALWAYS_INLINE void of(Vec x, Vec& value, Vec& derivative) const {
    const Vec size = (Vec)((IVec)x & 0x7fffffff), t = splat(1) / fma(splat(0.2316419f), size, splat(1));
    const Vec z = max(splat(Exp::lowest), x * x * splat(-0.5f * Exp::scale));
    const Vec density = splat(0.3989422804f) * exp.of<false>(z);
    Vec sum = splat(c[4]);
#pragma GCC unroll 4
    for (int i = 3; i >= 0; i--) sum = fma(sum, t, splat(c[i]));
    const Vec tail = density * sum * t, distribution = x > splat(0) ? splat(1) - tail : tail;
    value = x * distribution;
    derivative = fma(x, density, distribution);
  }
};

constexpr auto nothing = [] {};

void mlp(const Mlp& m, int threads) {
  const Matrix first(m.first, m.inputs, m.hidden, 1, m.inputs, threads);
  const Matrix second(m.second, m.hidden, m.outputs, 1, m.hidden, threads);
  const Bias first_bias(m.first_bias, m.hidden), second_bias(m.second_bias, m.outputs);
  const int64_t runs = at_most((m.rows + chunk_rows - 1) / chunk_rows, 8 * threads);
  parallel_for(runs, threads, [&](int64_t run) {
    const Gelu gelu;
    Memory memory(vectors(chunk_rows * m.hidden));
    float* hidden = (float*)memory.data;
    const int64_t end = m.rows * (run + 1) / runs;
    for (int64_t row = m.rows * run / runs; row < end; row += chunk_rows) {
      const int64_t rows = at_most(chunk_rows, end - row), next = row + rows;
      Ahead ahead(m.x + next * m.inputs, at_most(chunk_rows, m.rows - next) * m.inputs, tiles_of(rows, m.hidden));
      run_tiles({m.x + row * m.inputs, m.inputs, 1, first, first_bias.data, false, hidden, m.hidden}, 0, rows,
                [&] { ahead.prefetch(); });
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
      }
      run_tiles({hidden, m.hidden, 1, second, second_bias.data, false, m.y + row * m.outputs, m.outputs}, 0, rows, nothing);
    }
  });
}

// As in linear layers, the shape alone decides how the sums over rows are split.
void mlp_backward(const MlpGradients& gradients, int threads) {
  const Mlp& m = gradients.mlp;
  const Matrix first(m.first, m.inputs, m.hidden, 1, m.inputs, threads);
  const Matrix first_back(m.first, m.hidden, m.inputs, m.inputs, 1, threads);
  const Matrix second_back(m.second, m.outputs, m.hidden, m.hidden, 1, threads);
  const Bias bias(m.first_bias, m.hidden);
  struct Sums {
    float* to;
    int64_t count, from;  // where they begin in a part
  } all[] = {{gradients.first, m.hidden * m.inputs, 0},
             {gradients.first_bias, m.hidden, 0},
             {gradients.second, m.outputs * m.hidden, 0},
             {gradients.second_bias, m.outputs, 0}};
  int64_t size = 0;
  for (Sums& sums : all) {
    sums.from = size * W;
    size += vectors(sums.count);
  }
  const Parts parts(m.rows, m.inputs + m.outputs + m.hidden, size);
  parallel_for(parts.count, threads, [&](int64_t part) {
    const Gelu gelu;
    Packed x{chunk_rows, m.inputs, nullptr}, activated{chunk_rows, m.hidden, nullptr};
    const int64_t hidden_vectors = vectors(chunk_rows * m.hidden);
    Memory room(2 * hidden_vectors + x.size() + activated.size());
    float *hidden = (float*)room.take(hidden_vectors), *slope = (float*)room.take(hidden_vectors);
    x.data = room.take(x.size());
    activated.data = room.take(activated.size());
    float* sums = parts.zeros(part);
    float *dfirst = sums + all[0].from, *dfirst_bias = sums + all[1].from;
    float *dsecond = sums + all[2].from, *dsecond_bias = sums + all[3].from;
    const int64_t end = m.rows * (part + 1) / parts.count;
    for (int64_t row = m.rows * part / parts.count; row < end; row += chunk_rows) {
      const int64_t rows = at_most(chunk_rows, end - row), next = row + rows, coming = at_most(chunk_rows, m.rows - next);
      const float *input = m.x + row * m.inputs, *dy = m.y + row * m.outputs;
      Ahead ahead(m.x + next * m.inputs, coming * m.inputs, tiles_of(rows, m.hidden));
      Ahead ahead_dy(m.y + next * m.outputs, coming * m.outputs, tiles_of(rows, m.hidden));
      run_tiles({input, m.inputs, 1, first, bias.data, false, hidden, m.hidden}, 0, rows, [&] { ahead.prefetch(); });
      run_tiles({dy, m.outputs, 1, second_back, nullptr, false, slope, m.hidden}, 0, rows, [&] { ahead_dy.prefetch(); });
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
        store(slope + i, load(slope + i) * derivative);
      }
      run_tiles({slope, m.hidden, 1, first_back, nullptr, false, gradients.x + row * m.inputs, m.inputs}, 0, rows, nothing);
      x.inner = activated.inner = rows;
      x.fill_all(input, m.inputs);
      activated.fill_all(hidden, m.hidden);
      run_tiles({slope, 1, m.hidden, x, nullptr, true, dfirst, m.inputs}, 0, m.hidden, nothing);
      run_tiles({dy, 1, m.outputs, activated, nullptr, true, dsecond, m.hidden}, 0, m.outputs, nothing);
      add_rows(slope, rows, m.hidden, dfirst_bias, m.hidden);
      add_rows(dy, rows, m.outputs, dsecond_bias, m.outputs);
    }
  });
  for (const Sums& sums : all) parts.add_up(sums.from, sums.to, sums.count, threads);
}

}  // namespace

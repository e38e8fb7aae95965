// Two linear layers with GELU between them: y = W2 gelu(W1 x + b1) + b2, some rows at a time, so that the hidden values stay
// in the second cache. The backward pass keeps nothing but the inputs and computes the hidden values again.
#pragma once
#include "residual.h"

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

void mlp(const Mlp& m, int threads) {
  const Matrix first(m.first, m.inputs, m.hidden, 1, m.inputs, threads);
  const Matrix second(m.second, m.hidden, m.outputs, 1, m.hidden, threads);
  const Bias first_bias(m.first_bias, m.hidden), second_bias(m.second_bias, m.outputs);
  const Shortcut shortcut{m.residual, m.inputs};
  in_runs(m.rows, chunk_rows, threads, [&](int64_t first_row, int64_t end) {
    const Gelu gelu;
    Memory memory(vectors(chunk_rows * m.hidden) + vectors(chunk_rows * m.inputs) + vectors(chunk_rows * m.outputs));
    float *hidden = (float*)memory.take(vectors(chunk_rows * m.hidden));
    float *normal = (float*)memory.take(vectors(chunk_rows * m.inputs));
    float *branch = (float*)memory.take(vectors(chunk_rows * m.outputs));
    for (int64_t row = first_row; row < end; row += chunk_rows) {
      const int64_t rows = at_most(chunk_rows, end - row), next = row + rows;
      const float *x = m.x + row * m.inputs, *input = shortcut.exists() ? normal : x;
      float *y = m.y + row * m.outputs, *output = shortcut.exists() ? branch : y;
      Ahead ahead(m.x + next * m.inputs, at_most(chunk_rows, m.rows - next) * m.inputs, tiles_of(rows, m.hidden));
      if (shortcut.exists()) shortcut.norm(x, rows, normal);
      run_tiles({input, m.inputs, 1, first, first_bias.data, false, hidden, m.hidden}, 0, rows, [&] { ahead.prefetch(); });
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
      }
      run_tiles({hidden, m.hidden, 1, second, second_bias.data, false, output, m.outputs}, 0, rows, nothing);
      if (shortcut.exists()) shortcut.add(row, rows, x, branch, y);
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
  const Shortcut shortcut{m.residual, m.inputs};
  PartSums sums;
  const int64_t to_first = sums.add(gradients.first, m.hidden * m.inputs);
  const int64_t to_first_bias = sums.add(gradients.first_bias, m.hidden);
  const int64_t to_second = sums.add(gradients.second, m.outputs * m.hidden);
  const int64_t to_second_bias = sums.add(gradients.second_bias, m.outputs);
  const int64_t to_norm = sums.add(gradients.residual.weight, m.inputs);
  sums.add(gradients.residual.bias, m.inputs);
  const Parts parts(m.rows, m.inputs + m.outputs + m.hidden, sums.size);
  parallel_for(parts.count, threads, [&](int64_t part) {
    const Gelu gelu;
    Packed x{chunk_rows, m.inputs, nullptr}, activated{chunk_rows, m.hidden, nullptr};
    const int64_t hidden_vectors = vectors(chunk_rows * m.hidden), outer_vectors = vectors(chunk_rows * m.inputs);
    Memory room(2 * hidden_vectors + 3 * outer_vectors + x.size() + activated.size());
    float *hidden = (float*)room.take(hidden_vectors), *slope = (float*)room.take(hidden_vectors);
    float *normal = (float*)room.take(outer_vectors), *d_normal = (float*)room.take(outer_vectors);
    float *d_branch = (float*)room.take(outer_vectors);
    x.data = room.take(x.size());
    activated.data = room.take(activated.size());
    float* own = parts.zeros(part);
    const int64_t end = m.rows * (part + 1) / parts.count;
    for (int64_t row = m.rows * part / parts.count; row < end; row += chunk_rows) {
      const int64_t rows = at_most(chunk_rows, end - row), next = row + rows, coming = at_most(chunk_rows, m.rows - next);
      const float *input = m.x + row * m.inputs, *dy = m.y + row * m.outputs, *d = dy;
      float *dx = gradients.x + row * m.inputs, *d_input = dx;
      if (shortcut.exists()) {
        shortcut.norm(input, rows, normal);
        input = normal;
        d = shortcut.scaled(row, rows, dy, d_branch);
        d_input = d_normal;
      }
      Ahead ahead(m.x + next * m.inputs, coming * m.inputs, tiles_of(rows, m.hidden));
      Ahead ahead_dy(m.y + next * m.outputs, coming * m.outputs, tiles_of(rows, m.hidden));
      run_tiles({input, m.inputs, 1, first, bias.data, false, hidden, m.hidden}, 0, rows, [&] { ahead.prefetch(); });
      run_tiles({d, m.outputs, 1, second_back, nullptr, false, slope, m.hidden}, 0, rows, [&] { ahead_dy.prefetch(); });
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
        store(slope + i, load(slope + i) * derivative);
      }
      run_tiles({slope, m.hidden, 1, first_back, nullptr, false, d_input, m.inputs}, 0, rows, nothing);
      add_products(slope, m.hidden, input, rows, x, own + to_first, nothing);
      add_products(d, m.outputs, hidden, rows, activated, own + to_second, nothing);
      add_rows(slope, rows, m.hidden, own + to_first_bias, m.hidden);
      add_rows(d, rows, m.outputs, own + to_second_bias, m.outputs);
      if (shortcut.exists()) shortcut.norm_backward(m.x + row * m.inputs, d_normal, dy, rows, dx, (Vec*)(own + to_norm));
    }
  });
  sums.write(parts, threads);
}

}  // namespace

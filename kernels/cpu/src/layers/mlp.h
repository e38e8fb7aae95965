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

constexpr int64_t mlp_rows = 64;

// Every tile of `rows` rows of the result.
void run_tiles(const Tile& tile, int64_t rows, Ahead* ahead = nullptr) {
  for (int64_t j = 0; j < Packed::panels(tile.right.columns) / tile_vectors; j++)
    for (int64_t i = 0; i < rows; i += tile_rows) {
      if (ahead) ahead->prefetch();
      tile.run(at_most(tile_rows, rows - i), i, j);
    }
}
int64_t tiles_of(int64_t rows, int64_t columns) {
  return (rows + tile_rows - 1) / tile_rows * (Packed::panels(columns) / tile_vectors);
}

struct PackedMlp {
  Packed first, second;
  Memory memory;
  Vec *first_bias, *second_bias;

  PackedMlp(const Mlp& m, int threads)
      : first{m.inputs, m.hidden, nullptr}, second{m.hidden, m.outputs, nullptr},
        memory(first.size() + second.size() + Packed::panels(m.hidden) + Packed::panels(m.outputs)) {
    first.data = memory.take(first.size());
    second.data = memory.take(second.size());
    pack(first, m.first, 1, m.inputs, threads);
    pack(second, m.second, 1, m.hidden, threads);
    first_bias = load_bias(m.first_bias, m.hidden);
    second_bias = load_bias(m.second_bias, m.outputs);
  }

 private:
  Vec* load_bias(const float* bias, int64_t count) {
    Vec* to = memory.take(Packed::panels(count));
    padded_bias(bias, count, to);
    return to;
  }
};

void mlp(const Mlp& m, int threads) {
  const PackedMlp weights(m, threads);
  const int64_t runs = at_most((m.rows + mlp_rows - 1) / mlp_rows, 8 * threads);
  parallel_for(runs, threads, [&](int64_t run) {
    const Gelu gelu;
    Memory memory(vectors(mlp_rows * m.hidden));
    float* hidden = (float*)memory.data;
    const int64_t end = m.rows * (run + 1) / runs;
    for (int64_t row = m.rows * run / runs; row < end; row += mlp_rows) {
      const int64_t rows = at_most(mlp_rows, end - row), next = row + rows;
      Ahead ahead(m.x + next * m.inputs, at_most(mlp_rows, m.rows - next) * m.inputs, tiles_of(rows, m.hidden));
      run_tiles({m.x + row * m.inputs, m.inputs, 1, weights.first, weights.first_bias, false, hidden, m.hidden}, rows, &ahead);
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
      }
      run_tiles({hidden, m.hidden, 1, weights.second, weights.second_bias, false, m.y + row * m.outputs, m.outputs}, rows);
    }
  });
}

// As in linear layers, the shape alone decides how the sums over rows are split.
void mlp_backward(const MlpGradients& gradients, int threads) {
  const Mlp& m = gradients.mlp;
  Packed first{m.inputs, m.hidden, nullptr}, first_back{m.hidden, m.inputs, nullptr}, second_back{m.outputs, m.hidden, nullptr};
  Memory memory(first.size() + first_back.size() + second_back.size() + Packed::panels(m.hidden));
  first.data = memory.take(first.size());
  first_back.data = memory.take(first_back.size());
  second_back.data = memory.take(second_back.size());
  pack(first, m.first, 1, m.inputs, threads);
  pack(first_back, m.first, m.inputs, 1, threads);
  pack(second_back, m.second, m.hidden, 1, threads);
  Vec* bias = memory.take(Packed::panels(m.hidden));
  padded_bias(m.first_bias, m.hidden, bias);

  struct Sums { float* to; int64_t count; } all[] = {{gradients.first, m.hidden * m.inputs}, {gradients.first_bias, m.hidden},
                                                     {gradients.second, m.outputs * m.hidden}, {gradients.second_bias, m.outputs}};
  int64_t size = 0;
  for (const Sums& sums : all) size += vectors(sums.count);
  const Parts parts(m.rows, m.inputs + m.outputs + m.hidden, size);
  parallel_for(parts.count, threads, [&](int64_t part) {
    const Gelu gelu;
    Packed x{mlp_rows, m.inputs, nullptr}, activated{mlp_rows, m.hidden, nullptr};
    Memory room(2 * vectors(mlp_rows * m.hidden) + x.size() + activated.size());
    float *hidden = (float*)room.take(vectors(mlp_rows * m.hidden)), *slope = (float*)room.take(vectors(mlp_rows * m.hidden));
    x.data = room.take(x.size());
    activated.data = room.take(activated.size());
    float* dfirst = parts.zeros(part);
    float *dfirst_bias = dfirst + vectors(all[0].count) * W, *dsecond = dfirst_bias + vectors(all[1].count) * W;
    float* dsecond_bias = dsecond + vectors(all[2].count) * W;
    const int64_t end = m.rows * (part + 1) / parts.count;
    for (int64_t row = m.rows * part / parts.count; row < end; row += mlp_rows) {
      const int64_t rows = at_most(mlp_rows, end - row), next = row + rows, coming = at_most(mlp_rows, m.rows - next);
      const float *input = m.x + row * m.inputs, *dy = m.y + row * m.outputs;
      Ahead ahead(m.x + next * m.inputs, coming * m.inputs, tiles_of(rows, m.hidden));
      Ahead ahead_dy(m.y + next * m.outputs, coming * m.outputs, tiles_of(rows, m.hidden));
      run_tiles({input, m.inputs, 1, first, bias, false, hidden, m.hidden}, rows, &ahead);
      run_tiles({dy, m.outputs, 1, second_back, nullptr, false, slope, m.hidden}, rows, &ahead_dy);
      for (int64_t i = 0; i < rows * m.hidden; i += W) {
        Vec value, derivative;
        gelu.of(load(hidden + i), value, derivative);
        store(hidden + i, value);
        store(slope + i, load(slope + i) * derivative);
      }
      run_tiles({slope, m.hidden, 1, first_back, nullptr, false, gradients.x + row * m.inputs, m.inputs}, rows);
      x.inner = activated.inner = rows;
      x.fill_all(input, m.inputs);
      activated.fill_all(hidden, m.hidden);
      run_tiles({slope, 1, m.hidden, x, nullptr, true, dfirst, m.inputs}, m.hidden);
      run_tiles({dy, 1, m.outputs, activated, nullptr, true, dsecond, m.hidden}, m.outputs);
      add_rows(slope, rows, m.hidden, dfirst_bias, m.hidden);
      add_rows(dy, rows, m.outputs, dsecond_bias, m.outputs);
    }
  });
  int64_t from = 0;
  for (const Sums& sums : all) {
    parts.add_up(from, sums.to, sums.count, threads);
    from += vectors(sums.count) * W;
  }
}

}  // namespace

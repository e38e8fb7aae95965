// A block's mixer with the norm and the sum around it: what PoseMamba does between two residuals, in one call. Between the
// passes over the whole grid (products, convolution, scan) nothing is kept that the next pass can compute again.
#pragma once
#include "../grid.h"
#include "residual.h"

namespace {

struct Passes {
  const Mixer& m;
  int threads;
  int64_t rows = m.grid.batch * m.grid.cells, outer = m.channels, inner = m.grid.channels;
  int64_t projections = m.grid.directions * (m.grid.rank + 2 * m.grid.states);
  Shortcut shortcut{m.residual, outer};

  const float* input(int64_t row) const { return m.inputs + row * 2 * inner; }
  ConvSilu conv(float* y) const {
    return {m.grid.batch, m.frames, m.joints, inner, 2 * inner, m.inputs, m.conv_weight, m.conv_bias, y};
  }
  Linear projection(float* y) const { return {rows, inner, projections, m.grid.x, m.x_proj, nullptr, y}; }
  // Some rows of the norm and its gate.
  NormGate norm_gate(int64_t row, int64_t rows, float* y) const {
    const float *x = m.grid.y + row * inner, *gate = input(row) + inner;
    return {rows, inner, 2 * inner, x, gate, m.norm_weight, m.norm_bias, y, m.norm_epsilon};
  }

  void in_proj() const {
    const Matrix weight(m.in_proj, outer, 2 * inner, 1, outer, threads);
    in_runs(rows, chunk_rows, threads, [&](int64_t first, int64_t end) {
      Memory room(vectors(chunk_rows * outer));
      float* normal = (float*)room.data;
      for (int64_t row = first; row < end; row += chunk_rows) {
        const int64_t some = at_most(chunk_rows, end - row), next = row + some;
        shortcut.norm(m.x + row * outer, some, normal);
        Ahead ahead(m.x + next * outer, at_most(chunk_rows, rows - next) * outer, tiles_of(some, 2 * inner));
        run_tiles({normal, outer, 1, weight, nullptr, false, (float*)input(row), 2 * inner}, 0, some,
                  [&] { ahead.prefetch(); });
      }
    });
  }

  void out_proj() const {
    const Matrix weight(m.out_proj, inner, outer, 1, inner, threads);
    in_runs(rows, chunk_rows, threads, [&](int64_t first, int64_t end) {
      const Silu silu;
      Memory room(vectors(chunk_rows * inner) + vectors(chunk_rows * outer));
      float *gated = (float*)room.take(vectors(chunk_rows * inner)), *branch = (float*)room.take(vectors(chunk_rows * outer));
      for (int64_t row = first; row < end; row += chunk_rows) {
        const int64_t some = at_most(chunk_rows, end - row);
        const NormGate norm = norm_gate(row, some, gated);
        by_lanes(0, some, [&](int64_t cell, int64_t cells) { norm_gate_cells(norm, cell, cells, silu); });
        Ahead ahead(m.x + row * outer, some * outer, tiles_of(some, outer));
        run_tiles({gated, inner, 1, weight, nullptr, false, branch, outer}, 0, some, [&] { ahead.prefetch(); });
        shortcut.add(row, some, m.x + row * outer, branch, m.y + row * outer);
      }
    });
  }
};

void mixer(const Mixer& m, int threads) {
  const Passes passes{m, threads};
  passes.in_proj();
  conv_silu(passes.conv((float*)m.grid.x), threads);
  linear(passes.projection((float*)m.grid.projected), threads);
  grid_forward(m.grid, threads);
  passes.out_proj();
}

struct PassesBack : Passes {
  const MixerGradients& gradients;
  float *d_inputs, *d_scanned;  // of Mixer::inputs and of the scan's output

  const float* dy(int64_t row) const { return m.y + row * outer; }

  void out_proj_back() const {
    const Matrix weight(m.out_proj, outer, inner, inner, 1, threads);
    PartSums sums;
    const int64_t to_weight = sums.add(gradients.out_proj, outer * inner);
    const int64_t to_norm = sums.add(gradients.norm_weight, inner);
    sums.add(gradients.norm_bias, inner);
    const Parts parts(rows, outer + inner, sums.size);
    parallel_for(parts.count, threads, [&](int64_t part) {
      const Silu silu;
      Packed packed{chunk_rows, inner, nullptr};
      const int64_t inner_vectors = vectors(chunk_rows * inner);
      Memory room(2 * inner_vectors + vectors(chunk_rows * outer) + packed.size());
      float *gated = (float*)room.take(inner_vectors), *d_gated = (float*)room.take(inner_vectors);
      packed.data = room.take(packed.size());
      float *scaled = (float*)room.take(vectors(chunk_rows * outer)), *own = parts.zeros(part);
      const int64_t end = rows * (part + 1) / parts.count;
      for (int64_t row = rows * part / parts.count; row < end; row += chunk_rows) {
        const int64_t some = at_most(chunk_rows, end - row), next = row + some;
        const float* d = shortcut.scaled(row, some, dy(row), scaled);
        Ahead ahead(dy(next), at_most(chunk_rows, rows - next) * outer, tiles_of(some, inner));
        run_tiles({d, outer, 1, weight, nullptr, false, d_gated, inner}, 0, some, [&] { ahead.prefetch(); });
        const NormGateGradients norm{norm_gate(row, some, d_gated), 2 * inner, d_scanned + row * inner,
                                     d_inputs + row * 2 * inner + inner, nullptr, nullptr};
        by_lanes(0, some, [&](int64_t cell, int64_t cells) {
          norm_gate_backward_cells(norm, cell, cells, silu, (Vec*)(own + to_norm), gated + cell * inner);
        });
        add_products(d, outer, gated, some, packed, own + to_weight, nothing);
      }
    });
    sums.write(parts, threads);
  }

  void in_proj_back() const {
    const Matrix weight(m.in_proj, 2 * inner, outer, outer, 1, threads);
    PartSums sums;
    const int64_t to_weight = sums.add(gradients.in_proj, 2 * inner * outer);
    const int64_t to_norm = sums.add(gradients.residual.weight, outer);
    sums.add(gradients.residual.bias, outer);
    const Parts parts(rows, outer + 2 * inner, sums.size);
    parallel_for(parts.count, threads, [&](int64_t part) {
      Packed packed{chunk_rows, outer, nullptr};
      const int64_t outer_vectors = vectors(chunk_rows * outer);
      Memory room(2 * outer_vectors + packed.size());
      float *normal = (float*)room.take(outer_vectors), *d_normal = (float*)room.take(outer_vectors);
      packed.data = room.take(packed.size());
      float* own = parts.zeros(part);
      const int64_t end = rows * (part + 1) / parts.count;
      for (int64_t row = rows * part / parts.count; row < end; row += chunk_rows) {
        const int64_t some = at_most(chunk_rows, end - row), next = row + some, coming = at_most(chunk_rows, rows - next);
        const float *x = m.x + row * outer, *d = d_inputs + row * 2 * inner;
        shortcut.norm(x, some, normal);
        Ahead ahead(d_inputs + next * 2 * inner, coming * 2 * inner, tiles_of(2 * inner, outer));
        run_tiles({d, 2 * inner, 1, weight, nullptr, false, d_normal, outer}, 0, some, nothing);
        add_products(d, 2 * inner, normal, some, packed, own + to_weight, [&] { ahead.prefetch(); });
        shortcut.norm_backward(x, d_normal, dy(row), some, gradients.x + row * outer, (Vec*)(own + to_norm));
      }
    });
    sums.write(parts, threads);
  }
};

void mixer_backward(const MixerGradients& gradients, int threads) {
  const Mixer& m = gradients.mixer;
  const Passes passes{m, threads};
  const int64_t inner = vectors(passes.rows * passes.inner), projections = vectors(passes.rows * passes.projections);
  Memory memory(4 * inner + (gradients.published ? 2 : 1) * projections);
  float *d_inputs = (float*)memory.take(2 * inner), *d_scanned = (float*)memory.take(inner);
  float *dv = (float*)memory.take(inner), *d_projected = (float*)memory.take(projections);
  // The published code drops the gradient of v through the limb term and keeps that of the weights.
  float* for_weight = gradients.published ? (float*)memory.take(projections) : d_projected;
  const PassesBack back{passes, gradients, d_inputs, d_scanned};

  back.out_proj_back();
  Grid grid = m.grid;
  grid.y = d_scanned;
  grid_backward({grid, dv, gradients.dt_weight, gradients.dt_bias, gradients.A, gradients.D, d_projected, for_weight,
                 gradients.published}, threads);
  linear_backward({passes.projection(d_projected), dv, nullptr, nullptr, 1}, threads);
  linear_backward({passes.projection(for_weight), nullptr, gradients.x_proj, nullptr, 0}, threads);
  conv_silu_backward({passes.conv(dv), 2 * passes.inner, d_inputs, gradients.conv_weight, gradients.conv_bias}, threads);
  back.in_proj_back();
}

}  // namespace

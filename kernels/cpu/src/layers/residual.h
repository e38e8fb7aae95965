// What surrounds a branch of a block: y = x + scale branch(layer_norm(x)). Every function takes some rows at a time, dense
// ones, so that what passes between norm, branch and sum stays in the caches.
#pragma once
#include "block.h"
#include "product.h"

namespace {

struct Shortcut {
  const Residual& residual;
  int64_t channels;

  bool exists() const { return residual.weight; }
  int64_t blocks() const { return blocks_of(channels); }

  void norm(const float* x, int64_t rows, float* y) const {
    const float *weight = residual.weight, *bias = residual.bias;
    by_lanes(0, rows, [&](int64_t row, int64_t some) {
      const Moments moments(x + row * channels, channels, some, residual.epsilon);
      for (int64_t r = 0; r < some; r++) {
        const Normalise normalise = moments.row(r);
        for (int64_t b = 0; b < blocks(); b++) {
          const int64_t i = (row + r) * channels + b * W;
          const int lanes = lanes_of(channels, b);
          const auto at = [&](const float* p) { return load_lanes(p, lanes); };
          store_lanes(y + i, fma(normalise.of(at(x + i)), at(weight + b * W), at(bias + b * W)), lanes);
        }
      }
    });
  }

  // dx = dy + the gradient through the norm, from d, that of its output. sums: gradients of the weight of every block, then
  // those of the bias, added to.
  void norm_backward(const float* x, const float* d, const float* dy, int64_t rows, float* dx, Vec* sums) const {
    const float* weight = residual.weight;
    by_lanes(0, rows, [&](int64_t row, int64_t some) {
      const Moments moments(x + row * channels, channels, some, residual.epsilon);
      for (int64_t r = 0; r < some; r++) {
        const Normalise normalise = moments.row(r);
        Vec total = splat(0), along = splat(0);  // of the gradient of the normal values, and of its product with them
        for (int64_t b = 0; b < blocks(); b++) {
          const int64_t i = (row + r) * channels + b * W;
          const int lanes = lanes_of(channels, b);
          const auto at = [&](const float* p) { return load_lanes(p, lanes); };
          const Vec normal = normalise.of(at(x + i)), own = at(d + i), d_normal = own * at(weight + b * W);
          sums[b] = fma(own, normal, sums[b]);
          sums[blocks() + b] += own;
          total += d_normal;
          along = fma(d_normal, normal, along);
        }
        const Vec mean = splat(sum_of(total) / channels), slope = splat(sum_of(along) / channels);
        for (int64_t b = 0; b < blocks(); b++) {
          const int64_t i = (row + r) * channels + b * W;
          const int lanes = lanes_of(channels, b);
          const auto at = [&](const float* p) { return load_lanes(p, lanes); };
          const Vec normal = normalise.of(at(x + i)), d_normal = at(d + i) * at(weight + b * W);
          store_lanes(dx + i, fma(d_normal - fma(normal, slope, mean), normalise.scale, at(dy + i)), lanes);
        }
      }
    });
  }

  float scale_of(int64_t row) const { return residual.scale ? residual.scale[row / residual.clip_rows] : 1; }

  // y = x + scale branch; `row` is the first of all rows.
  void add(int64_t row, int64_t rows, const float* x, const float* branch, float* y) const {
    for (int64_t last = row + rows; row < last; row++, x += channels, branch += channels, y += channels) {
      const Vec scale = splat(scale_of(row));
      for (int64_t b = 0; b < blocks(); b++) {
        const int lanes = lanes_of(channels, b);
        store_lanes(y + b * W, fma(scale, load_lanes(branch + b * W, lanes), load_lanes(x + b * W, lanes)), lanes);
      }
    }
  }

  // The gradient of the branch's output: dy itself, or scale dy in `room`.
  const float* scaled(int64_t row, int64_t rows, const float* dy, float* room) const {
    if (!residual.scale) return dy;
    for (int64_t r = 0; r < rows; r++) {
      const Vec scale = splat(scale_of(row + r));
      for (int64_t b = 0; b < blocks(); b++) {
        const int64_t i = r * channels + b * W;
        const int lanes = lanes_of(channels, b);
        store_lanes(room + i, scale * load_lanes(dy + i, lanes), lanes);
      }
    }
    return room;
  }
};

}  // namespace

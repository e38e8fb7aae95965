// The parts of PoseMamba's block before and after the scan: a depthwise convolution with SiLU, and a LayerNorm with a
// SiLU gate. Each is one pass over the cells, forwards and backwards. A backward pass keeps nothing: it computes what it
// needs again from the inputs.
#pragma once
#include "../elementary.h"
#include "../panel.h"
#include "../scan.h"

namespace {

struct Silu {
  Softplus softplus;
  ALWAYS_INLINE Vec sigmoid(Vec x) const { return softplus.derivative(x, softplus.w(x)); }
  ALWAYS_INLINE Vec of(Vec x) const { return x * sigmoid(x); }
  ALWAYS_INLINE Vec derivative(Vec x, Vec sigmoid) const { return fma(x * sigmoid, splat(1) - sigmoid, sigmoid); }
};

// One clip and block of channels of a convolution, 3 frames by 3 joints; cells outside the grid are zero.
struct Channels {
  const ConvSilu& conv;
  int64_t batch, block;
  int lanes = lanes_of(conv.channels, block);

  int64_t cell(int64_t frame, int64_t joint) const { return (batch * conv.frames + frame) * conv.joints + joint; }
  bool inside(int64_t frame) const { return frame >= 0 && frame < conv.frames; }
  float* at(const float* p, int64_t frame, int64_t joint) const { return at(p, conv.channels, frame, joint); }
  float* at(const float* p, int64_t step, int64_t frame, int64_t joint) const {  // cells are `step` floats apart
    return (float*)p + cell(frame, joint) * step + block * W;
  }
  // The 9 weights, then the bias.
  void load_taps(Vec* taps) const {
    load_columns(conv.weight + block * W * 9, lanes, 9, 1, taps);
    taps[9] = load_lanes(conv.bias + block * W, lanes);
  }
};

// A block of channels of the cells of a frame, `step` floats apart.
struct Frame {
  const float* first;
  int64_t step;
  int lanes;
  ALWAYS_INLINE Vec at(int64_t joint) const { return load_lanes(first + joint * step, lanes); }
};
alignas(64) constexpr float zeros[W] = {};

// Three frames of x around one; those outside the grid are zero.
struct Around {
  Frame frames[3];
  Around(const Channels& c, int64_t frame) {
    for (int i = 0; i < 3; i++) {
      const int64_t f = frame + i - 1;
      frames[i] = {zeros, 0, W};
      if (c.inside(f)) frames[i] = {c.conv.x + c.cell(f, 0) * c.conv.x_cell + c.block * W, c.conv.x_cell, c.lanes};
    }
  }
};

// Slides a window of 3 frames over the joints of a frame: result(joint, taps[9] + sum of taps * values).
template <class Result>
ALWAYS_INLINE void convolve_frame(int64_t joints, const Frame* frames, const Vec* taps, const Result& result) {
  const auto column = [&](int64_t joint, Vec* out) {
    for (int i = 0; i < 3; i++) out[i] = frames[i].at(joint);
  };
  Vec left[3] = {splat(0), splat(0), splat(0)}, middle[3], right[3];
  column(0, middle);
  for (int64_t joint = 0; joint < joints; joint++) {
    if (joint + 1 < joints) {
      column(joint + 1, right);
    } else {
      right[0] = right[1] = right[2] = splat(0);
    }
    Vec sum = taps[9];
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
      sum = fma(left[i], taps[3 * i], fma(middle[i], taps[3 * i + 1], fma(right[i], taps[3 * i + 2], sum)));
      left[i] = middle[i];
      middle[i] = right[i];
    }
    result(joint, sum);
  }
}

constexpr int64_t frames_at_once = 16;
inline int64_t runs_of(const ConvSilu& conv) { return (conv.frames + frames_at_once - 1) / frames_at_once; }

void conv_silu(const ConvSilu& conv, int threads) {
  const int64_t runs = runs_of(conv), blocks = blocks_of(conv.channels);
  parallel_for(conv.batch * runs, threads, [&](int64_t item) {
    const int64_t batch = item / runs, first = item % runs * frames_at_once;
    const Silu silu;
    Memory memory(10 * blocks);
    Vec* taps = memory.take(10 * blocks);
    for (int64_t block = 0; block < blocks; block++) Channels{conv, batch, block}.load_taps(taps + 10 * block);
    for (int64_t frame = first; frame < at_most(conv.frames, first + frames_at_once); frame++)
      for (int64_t block = 0; block < blocks; block++) {
        const Channels c{conv, batch, block};
        convolve_frame(conv.joints, Around(c, frame).frames, taps + 10 * block, [&](int64_t joint, Vec sum) {
          __builtin_prefetch(conv.x + c.cell(frame + 2, joint) * conv.x_cell + block * W);
          __builtin_prefetch(c.at(conv.y, frame + 1, joint), 1);
          store_lanes(c.at(conv.y, frame, joint), silu.of(sum), c.lanes);
        });
      }
  });
}

// A run of frames of one block. slopes: room for the gradients before SiLU of the run and of a frame on either side.
// sums: gradients of the 9 weights and of the bias, added to.
void conv_silu_backward_run(const ConvSiluGradients& gradients, const Channels& c, int64_t first, Vec* slopes, Vec* sums) {
  const Silu silu;
  const int64_t joints = c.conv.joints, end = at_most(c.conv.frames, first + frames_at_once);
  Vec taps[10], flipped[10];
  c.load_taps(taps);
  for (int i = 0; i < 9; i++) flipped[i] = taps[8 - i];
  flipped[9] = splat(0);
  const auto slopes_of = [&](int64_t frame) { return slopes + (frame - first + 1) * joints; };

  for (int64_t frame = first - 1; frame <= end; frame++) {
    Vec* slope = slopes_of(frame);
    if (!c.inside(frame)) {
      for (int64_t joint = 0; joint < joints; joint++) slope[joint] = splat(0);
      continue;
    }
    convolve_frame(joints, Around(c, frame).frames, taps, [&](int64_t joint, Vec sum) {
      __builtin_prefetch(c.conv.x + c.cell(frame, joint) * c.conv.x_cell + (c.block + 1) * W);  // the next block
      __builtin_prefetch(c.at(c.conv.y, frame, joint) + W);
      __builtin_prefetch(c.at(gradients.x, gradients.x_cell, frame, joint) + W, 1);
      const Vec dy = load_lanes(c.at(c.conv.y, frame, joint), c.lanes);
      slope[joint] = dy * silu.derivative(sum, silu.sigmoid(sum));
    });
  }
  for (int64_t frame = first; frame < end; frame++) {
    const Vec* slope = slopes_of(frame);
    Frame around[3];
    for (int i = 0; i < 3; i++) around[i] = {(const float*)slopes_of(frame + i - 1), W, W};
    convolve_frame(joints, around, flipped, [&](int64_t joint, Vec sum) {
      store_lanes(c.at(gradients.x, gradients.x_cell, frame, joint), sum, c.lanes);
      sums[9] += slope[joint];
    });
    const Around x(c, frame);
    for (int i = 0; i < 3; i++) {
      Vec left = splat(0), middle = x.frames[i].at(0), *sum = sums + 3 * i;
      Vec sum0 = sum[0], sum1 = sum[1], sum2 = sum[2];
      for (int64_t joint = 0; joint < joints; joint++) {
        const Vec right = joint + 1 < joints ? x.frames[i].at(joint + 1) : splat(0), s = slope[joint];
        sum0 = fma(left, s, sum0);
        sum1 = fma(middle, s, sum1);
        sum2 = fma(right, s, sum2);
        left = middle;
        middle = right;
      }
      sum[0] = sum0, sum[1] = sum1, sum[2] = sum2;
    }
  }
}

// As in the scan, the shape alone decides every split: at most 64 parts, each with sums of its own.
void conv_silu_backward(const ConvSiluGradients& gradients, int threads) {
  const ConvSilu& conv = gradients.conv;
  const int64_t runs = runs_of(conv), blocks = blocks_of(conv.channels), items = conv.batch * runs;
  const int64_t parts = at_most(64, items);
  Memory memory(parts * blocks * 10);
  Vec* sums = memory.zeros(parts * blocks * 10);
  parallel_for(parts, threads, [&](int64_t part) {
    Memory room((frames_at_once + 2) * conv.joints);
    for (int64_t item = items * part / parts; item < items * (part + 1) / parts; item++)
      for (int64_t block = 0; block < blocks; block++)
        conv_silu_backward_run(gradients, Channels{conv, item / runs, block}, item % runs * frames_at_once, room.data,
                               sums + (part * blocks + block) * 10);
  });
  for (int64_t block = 0; block < blocks; block++) {
    const int lanes = lanes_of(conv.channels, block);
    write_sums(sums + block * 10, parts, blocks * 10, lanes, 9, gradients.weight + block * W * 9);
    write_sums(sums + block * 10 + 9, parts, blocks * 10, lanes, 1, gradients.bias + block * W);
  }
}

// Halves added up, because a sum of one lane after the other would take longer than a row.
template <int S = W / 2>
ALWAYS_INLINE float sum_of(Vec v) {
  v += moved<S>(v, v, Lanes{});
  if constexpr (S > 1) return sum_of<S / 2>(v);
  return v[0];
}

// Subtracts the mean of a row of channels and divides by its deviation.
struct Normalise {
  Vec scale, shift;
  ALWAYS_INLINE Vec of(Vec x) const { return fma(x, scale, shift); }
};

// The mean of each of at most W dense rows of channels, and one over its deviation. All rows together, because the sums over
// lanes, the root and the division of one row after the other would take longer than the row.
struct Moments {
  alignas(64) float mean[W], scale[W];
  ALWAYS_INLINE Normalise row(int64_t r) const { return {splat(scale[r]), splat(-mean[r]) * splat(scale[r])}; }
  Moments(const float* x, int64_t channels, int64_t rows, float epsilon) {
    const int64_t blocks = blocks_of(channels);
    Vec sums[W] = {}, squares[W] = {};
    for (int64_t r = 0; r < rows; r++) {
      Vec sum = splat(0);
      for (int64_t b = 0; b < blocks; b++) sum += load_lanes(x + r * channels + b * W, lanes_of(channels, b));
      sums[r] = sum;
    }
    const Vec means = lane_sums(sums, 1) / splat(channels);
    store(mean, means);
    for (int64_t r = 0; r < rows; r++) {
      const Vec own = splat(mean[r]);
      Vec sum = splat(0);
      for (int64_t b = 0; b < blocks; b++) {
        const Vec centred = load_lanes(x + r * channels + b * W, lanes_of(channels, b)) - own;
        sum = fma(centred, centred, sum);
      }
      squares[r] = sum;
    }
    // Each absent lane of the last block added the square of the mean.
    const Vec absent = splat(blocks * W - channels);
    const Vec variance = (lane_sums(squares, 1) - absent * means * means) / splat(channels) + splat(epsilon);
    store(scale, splat(1) / root(variance));
  }
};

constexpr int64_t cells_ahead = 2;

// Some cells, at most W, of which the first is `cell`. The cells after them are prefetched: the processor itself does not
// foresee rows that are far apart.
void norm_gate_cells(const NormGate& norm, int64_t cell, int64_t cells, const Silu& silu) {
  const int64_t channels = norm.channels, blocks = blocks_of(channels), gate_cell = norm.gate_cell;
  const float *x = norm.x + cell * channels, *gate = norm.gate + cell * gate_cell, *weight = norm.weight, *bias = norm.bias;
  float* y = norm.y + cell * channels;
  const Moments moments(x, channels, cells, norm.epsilon);
  for (int64_t r = 0; r < cells; r++, x += channels, gate += gate_cell, y += channels) {
    const Normalise normalise = moments.row(r);
    for (int64_t b = 0; b < blocks; b++) {
      __builtin_prefetch(x + W * channels + b * W);
      __builtin_prefetch(gate + cells_ahead * gate_cell + b * W);
      __builtin_prefetch(y + cells_ahead * channels + b * W, 1);
      const int lanes = lanes_of(channels, b);
      const auto at = [&](const float* p) { return load_lanes(p + b * W, lanes); };
      const Vec normal = fma(normalise.of(at(x)), at(weight), at(bias));
      store_lanes(y + b * W, normal * silu.of(at(gate)), lanes);
    }
  }
}

// Calls body(cell, cells) for at most W of the cells at a time.
template <class Body>
ALWAYS_INLINE void by_lanes(int64_t first, int64_t last, const Body& body) {
  for (int64_t cell = first; cell < last; cell += W) body(cell, at_most(W, last - cell));
}

void norm_gate(const NormGate& norm, int threads) {
  constexpr int64_t cells_at_once = 64;
  parallel_for((norm.cells + cells_at_once - 1) / cells_at_once, threads, [&](int64_t item) {
    const Silu silu;
    by_lanes(item * cells_at_once, at_most(norm.cells, (item + 1) * cells_at_once),
             [&](int64_t cell, int64_t cells) { norm_gate_cells(norm, cell, cells, silu); });
  });
}

// Some cells as above. sums: gradients of the weight of every block, then those of the bias, added to. output: where the
// first cell's output goes, the others' after it, or null.
void norm_gate_backward_cells(const NormGateGradients& gradients, int64_t cell, int64_t cells, const Silu& silu, Vec* sums,
                              float* output) {
  const NormGate& norm = gradients.norm;
  const int64_t channels = norm.channels, blocks = blocks_of(channels);
  const int64_t gate_cell = norm.gate_cell, dgate_cell = gradients.gate_cell;
  const float *x = norm.x + cell * channels, *gate = norm.gate + cell * gate_cell, *dy = norm.y + cell * channels;
  const float *weight = norm.weight, *bias = norm.bias;
  float *dx = gradients.x + cell * channels, *dgate = gradients.gate + cell * dgate_cell;
  const Moments moments(x, channels, cells, norm.epsilon);
  for (int64_t r = 0; r < cells; r++) {
    const Normalise normalise = moments.row(r);
    Vec total = splat(0), along = splat(0);  // of the gradient of the normal values, and of its product with them
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t i = r * channels + b * W;
      __builtin_prefetch(x + i + W * channels);
      __builtin_prefetch(gate + (r + cells_ahead) * gate_cell + b * W);
      __builtin_prefetch(dy + i + cells_ahead * channels);
      __builtin_prefetch(dx + i + cells_ahead * channels, 1);
      __builtin_prefetch(dgate + (r + cells_ahead) * dgate_cell + b * W, 1);
      const int lanes = lanes_of(channels, b);
      const auto at = [&](const float* p) { return load_lanes(p, lanes); };
      const Vec normal = normalise.of(at(x + i)), g = at(gate + r * gate_cell + b * W), d = at(dy + i);
      const Vec sigmoid = silu.sigmoid(g), w = at(weight + b * W);
      const Vec before_gate = d * g * sigmoid, d_normal = before_gate * w, affine = fma(normal, w, at(bias + b * W));
      store_lanes(dgate + r * dgate_cell + b * W, d * affine * silu.derivative(g, sigmoid), lanes);
      store_lanes(dx + i, d_normal, lanes);
      if (output) store_lanes(output + i, affine * (g * sigmoid), lanes);
      sums[b] = fma(before_gate, normal, sums[b]);
      sums[blocks + b] += before_gate;
      total += d_normal;
      along = fma(d_normal, normal, along);
    }
    const Vec mean = splat(sum_of(total) / channels), slope = splat(sum_of(along) / channels);
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t i = r * channels + b * W;
      const int lanes = lanes_of(channels, b);
      const Vec normal = normalise.of(load_lanes(x + i, lanes));
      store_lanes(dx + i, (load_lanes(dx + i, lanes) - fma(normal, slope, mean)) * normalise.scale, lanes);
    }
  }
}

void norm_gate_backward(const NormGateGradients& gradients, int threads) {
  const NormGate& norm = gradients.norm;
  const int64_t blocks = blocks_of(norm.channels), parts = at_most(64, norm.cells);
  Memory memory(parts * 2 * blocks);
  Vec* sums = memory.zeros(parts * 2 * blocks);
  parallel_for(parts, threads, [&](int64_t part) {
    const Silu silu;
    by_lanes(norm.cells * part / parts, norm.cells * (part + 1) / parts, [&](int64_t cell, int64_t cells) {
      norm_gate_backward_cells(gradients, cell, cells, silu, sums + part * 2 * blocks, nullptr);
    });
  });
  for (int64_t block = 0; block < blocks; block++) {
    const int lanes = lanes_of(norm.channels, block);
    write_sums(sums + block, parts, 2 * blocks, lanes, 1, gradients.weight + block * W);
    write_sums(sums + blocks + block, parts, 2 * blocks, lanes, 1, gradients.bias + block * W);
  }
}

}  // namespace

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
  Vec x(int64_t frame, int64_t joint) const {
    return load_lanes(conv.x + cell(frame, joint) * conv.x_cell + block * W, lanes);
  }
  float* at(const float* p, int64_t frame, int64_t joint) const {
    return (float*)p + cell(frame, joint) * conv.channels + block * W;
  }
  // The 9 weights, then the bias.
  void load_taps(Vec* taps) const {
    load_columns(conv.weight + block * W * 9, lanes, 9, 1, taps);
    taps[9] = load_lanes(conv.bias + block * W, lanes);
  }
};

// Slides a window of 3 frames over the joints of a frame: result(joint, taps[9] + sum of taps * values).
// value(frame, joint) is called only inside the grid.
template <class Value, class Result>
ALWAYS_INLINE void convolve_frame(const Channels& c, int64_t frame, const Vec* taps, const Value& value,
                                  const Result& result) {
  const auto column = [&](int64_t joint, Vec* out) {
    for (int i = 0; i < 3; i++) {
      const int64_t f = frame + i - 1;
      out[i] = c.inside(f) && joint < c.conv.joints ? value(f, joint) : splat(0);
    }
  };
  Vec left[3] = {splat(0), splat(0), splat(0)}, middle[3], right[3];
  column(0, middle);
  for (int64_t joint = 0; joint < c.conv.joints; joint++) {
    column(joint + 1, right);
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
        convolve_frame(c, frame, taps + 10 * block, [&](int64_t f, int64_t joint) { return c.x(f, joint); },
                       [&](int64_t joint, Vec sum) {
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
  const auto x = [&](int64_t f, int64_t joint) { return c.x(f, joint); };
  const auto slope = [&](int64_t f, int64_t joint) -> Vec& { return slopes[(f - first + 1) * joints + joint]; };

  for (int64_t frame = first - 1; frame <= end; frame++)
    if (c.inside(frame))
      convolve_frame(c, frame, taps, x, [&](int64_t joint, Vec sum) {
        __builtin_prefetch(c.conv.x + c.cell(frame, joint) * c.conv.x_cell + (c.block + 1) * W);  // the next block
        __builtin_prefetch(c.at(c.conv.y, frame, joint) + W);
        __builtin_prefetch(c.at(gradients.x, frame, joint) + W, 1);
        const Vec dy = load_lanes(c.at(c.conv.y, frame, joint), c.lanes);
        slope(frame, joint) = dy * silu.derivative(sum, silu.sigmoid(sum));
      });
  for (int64_t frame = first; frame < end; frame++) {
    convolve_frame(c, frame, flipped, slope, [&](int64_t joint, Vec sum) {
      store_lanes(c.at(gradients.x, frame, joint), sum, c.lanes);
      sums[9] += slope(frame, joint);
    });
    for (int i = 0; i < 3; i++) {
      const int64_t f = frame + i - 1;
      if (!c.inside(f)) continue;
      Vec left = splat(0), middle = x(f, 0), *sum = sums + 3 * i;
      Vec sum0 = sum[0], sum1 = sum[1], sum2 = sum[2];
      for (int64_t joint = 0; joint < joints; joint++) {
        const Vec right = joint + 1 < joints ? x(f, joint + 1) : splat(0), s = slope(frame, joint);
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

inline float sum_of(Vec v) {
  float sum = 0;
  for (int i = 0; i < W; i++) sum += v[i];
  return sum;
}

// The mean of a row of channels and one over its deviation.
struct Moments {
  float mean, scale;
  Moments(const NormGate& norm, const float* x) {
    const int64_t channels = norm.channels, blocks = blocks_of(channels);
    Vec sum = splat(0), squares = splat(0);
    for (int64_t b = 0; b < blocks; b++) sum += load_lanes(x + b * W, lanes_of(channels, b));
    mean = sum_of(sum) / channels;
    for (int64_t b = 0; b < blocks; b++) {
      const Vec centred = load_lanes(x + b * W, lanes_of(channels, b)) - splat(mean);
      squares = fma(centred, centred, squares);
    }
    // Each absent lane of the last block added the square of the mean.
    const float variance = (sum_of(squares) - (blocks * W - channels) * mean * mean) / channels;
    scale = 1 / sqrtf(variance + norm.epsilon);
  }
};

constexpr int64_t cells_ahead = 2;  // to prefetch; the processor itself does not foresee rows that are far apart

void norm_gate(const NormGate& norm, int threads) {
  constexpr int64_t cells_at_once = 64;
  const int64_t channels = norm.channels, blocks = blocks_of(channels);
  parallel_for((norm.cells + cells_at_once - 1) / cells_at_once, threads, [&](int64_t item) {
    const Silu silu;
    for (int64_t cell = item * cells_at_once; cell < at_most(norm.cells, (item + 1) * cells_at_once); cell++) {
      const float *x = norm.x + cell * channels, *gate = norm.gate + cell * norm.gate_cell;
      const Moments moments(norm, x);
      const Vec scale = splat(moments.scale), shift = splat(-moments.mean) * scale;
      for (int64_t b = 0; b < blocks; b++) {
        __builtin_prefetch(x + cells_ahead * channels + b * W);
        __builtin_prefetch(gate + cells_ahead * norm.gate_cell + b * W);
        __builtin_prefetch(norm.y + (cell + cells_ahead) * channels + b * W, 1);
        const int lanes = lanes_of(channels, b);
        const auto at = [&](const float* p) { return load_lanes(p + b * W, lanes); };
        const Vec normal = fma(fma(at(x), scale, shift), at(norm.weight), at(norm.bias));
        store_lanes(norm.y + cell * channels + b * W, normal * silu.of(at(gate)), lanes);
      }
    }
  });
}

// One cell; sums: gradients of the weight of every block, then those of the bias, added to.
void norm_gate_backward_cell(const NormGateGradients& gradients, int64_t cell, const Silu& silu, Vec* sums) {
  const NormGate& norm = gradients.norm;
  const int64_t channels = norm.channels, blocks = blocks_of(channels);
  const float *x = norm.x + cell * channels, *gate = norm.gate + cell * norm.gate_cell, *dy = norm.y + cell * channels;
  float *dx = gradients.x + cell * channels, *dgate = gradients.gate + cell * channels;
  const Moments moments(norm, x);
  const Vec scale = splat(moments.scale), shift = splat(-moments.mean) * scale;
  Vec total = splat(0), along = splat(0);  // of the gradient of the normal values, and of its product with them
  for (int64_t b = 0; b < blocks; b++) {
    __builtin_prefetch(x + cells_ahead * channels + b * W);
    __builtin_prefetch(gate + cells_ahead * norm.gate_cell + b * W);
    __builtin_prefetch(dy + cells_ahead * channels + b * W);
    __builtin_prefetch(dx + cells_ahead * channels + b * W, 1);
    __builtin_prefetch(dgate + cells_ahead * channels + b * W, 1);
    const int lanes = lanes_of(channels, b);
    const auto at = [&](const float* p) { return load_lanes(p + b * W, lanes); };
    const Vec normal = fma(at(x), scale, shift), g = at(gate), sigmoid = silu.sigmoid(g), d = at(dy);
    const Vec before_gate = d * g * sigmoid, d_normal = before_gate * at(norm.weight);
    store_lanes(dgate + b * W, d * fma(normal, at(norm.weight), at(norm.bias)) * silu.derivative(g, sigmoid), lanes);
    store_lanes(dx + b * W, d_normal, lanes);
    sums[b] = fma(before_gate, normal, sums[b]);
    sums[blocks + b] += before_gate;
    total += d_normal;
    along = fma(d_normal, normal, along);
  }
  const Vec mean = splat(sum_of(total) / channels), slope = splat(sum_of(along) / channels);
  for (int64_t b = 0; b < blocks; b++) {
    const int lanes = lanes_of(channels, b);
    const Vec normal = fma(load_lanes(x + b * W, lanes), scale, shift);
    store_lanes(dx + b * W, (load_lanes(dx + b * W, lanes) - fma(normal, slope, mean)) * scale, lanes);
  }
}

void norm_gate_backward(const NormGateGradients& gradients, int threads) {
  const NormGate& norm = gradients.norm;
  const int64_t blocks = blocks_of(norm.channels), parts = at_most(64, norm.cells);
  Memory memory(parts * 2 * blocks);
  Vec* sums = memory.zeros(parts * 2 * blocks);
  parallel_for(parts, threads, [&](int64_t part) {
    const Silu silu;
    for (int64_t cell = norm.cells * part / parts; cell < norm.cells * (part + 1) / parts; cell++)
      norm_gate_backward_cell(gradients, cell, silu, sums + part * 2 * blocks);
  });
  for (int64_t block = 0; block < blocks; block++) {
    const int lanes = lanes_of(norm.channels, block);
    write_sums(sums + block, parts, 2 * blocks, lanes, 1, gradients.weight + block * W);
    write_sums(sums + blocks + block, parts, 2 * blocks, lanes, 1, gradients.bias + block * W);
  }
}

}  // namespace

// The parts of PoseMamba's block before and after the scan: a depthwise convolution with SiLU, and a LayerNorm with a
// SiLU gate. Each is one pass over the cells, forward only.
#pragma once
#include "elementary.h"
#include "memory.h"
#include "panel.h"
#include "scan.h"

namespace {

struct Silu {
  Softplus softplus;
  ALWAYS_INLINE Vec of(Vec x) const { return x * softplus.derivative(x, softplus.w(x)); }
};

// One frame and block of channels: a window of 3 frames slides over the joints; frames and joints outside are zero.
// taps: the 9 weights, then the bias.
void convolve_frame(const ConvSilu& conv, int64_t batch, int64_t frame, int64_t block, const Vec* taps) {
  const Silu silu;
  const int lanes = lanes_of(conv.channels, block);
  const auto cell = [&](int64_t f, int64_t joint) { return (batch * conv.frames + f) * conv.joints + joint; };
  const auto column = [&](int64_t joint, Vec* out) {
    for (int i = 0; i < 3; i++) {
      const int64_t f = frame + i - 1;
      const bool outside = f < 0 || f >= conv.frames || joint >= conv.joints;
      out[i] = outside ? splat(0) : load_lanes(conv.x + cell(f, joint) * conv.x_cell + block * W, lanes);
    }
  };
  Vec left[3] = {splat(0), splat(0), splat(0)}, middle[3], right[3];
  column(0, middle);
  for (int64_t joint = 0; joint < conv.joints; joint++) {
    column(joint + 1, right);
    Vec sum = taps[9];
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
      sum = fma(left[i], taps[3 * i], fma(middle[i], taps[3 * i + 1], fma(right[i], taps[3 * i + 2], sum)));
      left[i] = middle[i];
      middle[i] = right[i];
    }
    store_lanes(conv.y + cell(frame, joint) * conv.channels + block * W, silu.of(sum), lanes);
  }
}

void conv_silu(const ConvSilu& conv, int threads) {
  constexpr int64_t frames_at_once = 16;
  const int64_t runs = (conv.frames + frames_at_once - 1) / frames_at_once, blocks = blocks_of(conv.channels);
  parallel_for(conv.batch * runs, threads, [&](int64_t item) {
    const int64_t batch = item / runs, first = item % runs * frames_at_once;
    Memory memory(10 * blocks);
    Vec* taps = memory.take(10 * blocks);
    for (int64_t block = 0; block < blocks; block++) {
      const int lanes = lanes_of(conv.channels, block);
      load_columns(conv.weight + block * W * 9, lanes, 9, 1, taps + 10 * block);
      taps[10 * block + 9] = load_lanes(conv.bias + block * W, lanes);
    }
    for (int64_t frame = first; frame < at_most(conv.frames, first + frames_at_once); frame++)
      for (int64_t block = 0; block < blocks; block++) convolve_frame(conv, batch, frame, block, taps + 10 * block);
  });
}

inline float sum_of(Vec v) {
  float sum = 0;
  for (int i = 0; i < W; i++) sum += v[i];
  return sum;
}

void norm_gate(const NormGate& norm, int threads) {
  constexpr int64_t cells_at_once = 64;
  const int64_t channels = norm.channels, blocks = blocks_of(channels);
  parallel_for((norm.cells + cells_at_once - 1) / cells_at_once, threads, [&](int64_t item) {
    const Silu silu;
    for (int64_t cell = item * cells_at_once; cell < at_most(norm.cells, (item + 1) * cells_at_once); cell++) {
      const float *x = norm.x + cell * channels, *gate = norm.gate + cell * norm.gate_cell;
      Vec sum = splat(0), squares = splat(0);
      for (int64_t b = 0; b < blocks; b++) sum += load_lanes(x + b * W, lanes_of(channels, b));
      const float mean = sum_of(sum) / channels;
      for (int64_t b = 0; b < blocks; b++) {
        const Vec centred = load_lanes(x + b * W, lanes_of(channels, b)) - splat(mean);
        squares = fma(centred, centred, squares);
      }
      // Each absent lane of the last block added the square of the mean.
      const float variance = (sum_of(squares) - (blocks * W - channels) * mean * mean) / channels;
      const Vec scale = splat(1 / sqrtf(variance + norm.epsilon)), shift = splat(-mean) * scale;
      for (int64_t b = 0; b < blocks; b++) {
        const int lanes = lanes_of(channels, b);
        const auto at = [&](const float* p) { return load_lanes(p + b * W, lanes); };
        const Vec normal = fma(fma(at(x), scale, shift), at(norm.weight), at(norm.bias));
        store_lanes(norm.y + cell * channels + b * W, normal * silu.of(at(gate)), lanes);
      }
    }
  });
}

}  // namespace

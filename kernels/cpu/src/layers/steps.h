// The convolution before MDTF's scans: depthwise, over conv_steps steps of a sequence, with SiLU. One pass forwards and one
// and a half backwards. A backward pass keeps nothing but the inputs.
#pragma once
#include "block.h"

namespace {

// One sequence and block of channels; steps outside the sequence are zero.
struct Steps {
  const StepsConvSilu& conv;
  int64_t sequence, block;
  int lanes = lanes_of(conv.channels, block);

  Vec x(int64_t t) const {
    return load_lanes(conv.x + (sequence * conv.steps + t) * conv.x_step + block * W, lanes);
  }
  float* at(const float* p, int64_t t) const {
    return (float*)p + (sequence * conv.steps + t) * conv.channels + block * W;
  }
  // The weights, then the bias.
  void load_taps(Vec* taps) const {
    load_columns(conv.weight + block * W * conv_steps, lanes, conv_steps, 1, taps);
    taps[conv_steps] = load_lanes(conv.bias + block * W, lanes);
  }
};

// Slides a window over the steps: result(t, window, taps[conv_steps] + sum of taps * window), with value(t - back) first in
// the window. value(t) is called only inside the sequence.
template <class Value, class Result>
ALWAYS_INLINE void convolve_steps(int64_t steps, int64_t back, const Vec* taps, const Value& value, const Result& result) {
  const auto padded = [&](int64_t t) { return t >= 0 && t < steps ? value(t) : splat(0); };
  Vec window[conv_steps];
  for (int i = 1; i < conv_steps; i++) window[i] = padded(i - 1 - back);
  for (int64_t t = 0; t < steps; t++) {
#pragma GCC unroll 4
    for (int i = 1; i < conv_steps; i++) window[i - 1] = window[i];
    window[conv_steps - 1] = padded(t + conv_steps - 1 - back);
    Vec sum = taps[conv_steps];
#pragma GCC unroll 4
    for (int i = 0; i < conv_steps; i++) sum = fma(taps[i], window[i], sum);
    result(t, window, sum);
  }
}

void steps_conv_silu(const StepsConvSilu& conv, int threads) {
  parallel_for(conv.sequences, threads, [&](int64_t sequence) {
    const Silu silu;
    for (int64_t block = 0; block < blocks_of(conv.channels); block++) {
      const Steps s{conv, sequence, block};
      Vec taps[conv_steps + 1];
      s.load_taps(taps);
      convolve_steps(conv.steps, conv.back, taps, [&](int64_t t) { return s.x(t); },
                     [&](int64_t t, const Vec*, Vec sum) { store_lanes(s.at(conv.y, t), silu.of(sum), s.lanes); });
    }
  });
}

// slopes: room for the gradients before SiLU. sums: gradients of the weights and of the bias, added to.
void steps_conv_silu_backward_item(const StepsConvSiluGradients& gradients, const Steps& s, Vec* slopes, Vec* sums) {
  const Silu silu;
  const StepsConvSilu& conv = s.conv;
  Vec taps[conv_steps + 1], flipped[conv_steps + 1], total[conv_steps + 1];
  s.load_taps(taps);
  for (int i = 0; i < conv_steps; i++) flipped[i] = taps[conv_steps - 1 - i];
  flipped[conv_steps] = splat(0);
  for (int i = 0; i <= conv_steps; i++) total[i] = sums[i];
  convolve_steps(conv.steps, conv.back, taps, [&](int64_t t) { return s.x(t); },
                 [&](int64_t t, const Vec* window, Vec sum) {
                   const Vec dy = load_lanes(s.at(conv.y, t), s.lanes);
                   slopes[t] = dy * silu.derivative(sum, silu.sigmoid(sum));
#pragma GCC unroll 4
                   for (int i = 0; i < conv_steps; i++) total[i] = fma(slopes[t], window[i], total[i]);
                   total[conv_steps] += slopes[t];
                 });
  convolve_steps(conv.steps, conv_steps - 1 - conv.back, flipped, [&](int64_t t) { return slopes[t]; },
                 [&](int64_t t, const Vec*, Vec sum) { store_lanes(s.at(gradients.x, t), sum, s.lanes); });
  for (int i = 0; i <= conv_steps; i++) sums[i] = total[i];
}

// As in the scan, the shape alone decides every split: at most 64 parts, each with sums of its own.
void steps_conv_silu_backward(const StepsConvSiluGradients& gradients, int threads) {
  const StepsConvSilu& conv = gradients.conv;
  const int64_t blocks = blocks_of(conv.channels), parts = at_most(64, conv.sequences);
  constexpr int each = conv_steps + 1;
  Memory memory(parts * blocks * each);
  Vec* sums = memory.zeros(parts * blocks * each);
  parallel_for(parts, threads, [&](int64_t part) {
    Memory room(conv.steps);
    for (int64_t i = conv.sequences * part / parts; i < conv.sequences * (part + 1) / parts; i++)
      for (int64_t block = 0; block < blocks; block++)
        steps_conv_silu_backward_item(gradients, Steps{conv, i, block}, room.data, sums + (part * blocks + block) * each);
  });
  for (int64_t block = 0; block < blocks; block++) {
    const int lanes = lanes_of(conv.channels, block);
    write_sums(sums + block * each, parts, blocks * each, lanes, conv_steps, gradients.weight + block * W * conv_steps);
    write_sums(sums + block * each + conv_steps, parts, blocks * each, lanes, 1, gradients.bias + block * W);
  }
}

}  // namespace

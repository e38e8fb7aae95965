// The C interface, and what each instruction set provides. Strides are in elements. The ctypes structures in ../*.py
// mirror these; ../library.py checks what they point to.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct Rows {  // (B, channels, L): u, delta, y and their gradients; the channel or the time stride is 1
  float* data;
  int64_t batch, channel, time;
};
struct States {  // (B, groups, N, L): B, C and their gradients; the state or the time stride is 1
  float* data;
  int64_t batch, group, state, time;
};
struct Stream {  // one scan
  Rows u, delta;
  States B, C;
  float *A, *D, *delta_bias;  // (groups * channels, N), (groups * channels), (groups * channels)
  float* checkpoints;         // states before every 32nd step, checkpoint_floats() of them, or null
  int64_t reverse;            // 1: the sequence runs from L - 1 to 0
};
struct Scan {
  int64_t batch, groups, channels, states, length;  // channels of one group
  int64_t streams;                                  // y is the sum of 1 or 2 scans
  int64_t bfloat16;  // 1, forwards only: u, delta, B, C and y are stored in bfloat16, behind the same pointers
  Stream stream[2];
  Rows y;
};
struct ScanGradients {
  Scan scan;  // with y the gradient of the output
  struct {
    Rows u, delta;
    States B, C;
    float *A, *D, *delta_bias;
  } stream[2];
};

struct Grid {
  int64_t batch, directions, channels, states, rank, cells;
  int64_t bfloat16;        // 1, forwards only: x and y are stored in bfloat16, behind the same pointers
  const float* x;          // (B, cells, channels)
  const float* projected;  // (B, cells, directions, rank + 2 states): low-rank delta, B, C of x without the limb term
  const float *dt_weight, *dt_bias, *A, *D;  // (K, channels, rank), (K, channels), (K * channels, N), (K * channels)
  const int32_t* orders;   // (K, cells): the cell that step t of direction k reads and writes
  const int32_t* neighbours;  // (cells): the cell that the limb term adds to each
  const uint8_t* limb;     // (K): whether direction k reads x + x[neighbours]
  float* y;                // (B, cells, channels)
  float* checkpoints;
};
struct GridGradients {
  Grid grid;  // with y the gradient of the output
  float *x, *dt_weight, *dt_bias, *A, *D;  // x: not through the projections
  float *projected, *projected_with_limb;  // without and with the limb term's share; the same memory if only the latter
  int64_t published;                       // 1: no gradient of x through x[neighbours]
};

constexpr int64_t checkpoint_steps = 32;

struct ConvSilu {  // y = silu(depthwise 3 x 3 convolution of x over (frames, joints), padded with zeros)
  int64_t batch, frames, joints, channels;
  int64_t x_cell;          // from one cell of x to the next
  const float* x;          // (B, frames, joints, channels)
  const float *weight, *bias;  // (channels, 9), (channels)
  float* y;                // (B, frames, joints, channels)
};
struct ConvSiluGradients {
  ConvSilu conv;   // with y the gradient of the output
  int64_t x_cell;  // of the gradient of x
  float *x, *weight, *bias;
};

constexpr int conv_steps = 4;

struct StepsConvSilu {  // y = silu(depthwise convolution of x over conv_steps steps of a sequence, padded with zeros)
  int64_t sequences, steps, channels;
  int64_t back;    // how many steps before its own step the kernel begins
  int64_t x_step;  // from one step of x to the next
  const float* x;  // (sequences, steps, channels)
  const float *weight, *bias;  // (channels, conv_steps), (channels)
  float* y;        // (sequences, steps, channels)
};
struct StepsConvSiluGradients {
  StepsConvSilu conv;  // with y the gradient of the output
  float *x, *weight, *bias;
};
struct NormGate {  // y = layer_norm(x) * silu(gate)
  int64_t cells, channels;
  int64_t gate_cell;  // from one cell of the gate to the next
  const float *x, *gate, *weight, *bias;  // (cells, channels) twice, (channels) twice
  float* y;           // (cells, channels)
  float epsilon;
};
struct NormGateGradients {
  NormGate norm;      // with y the gradient of the output
  int64_t gate_cell;  // of the gradient of the gate
  float *x, *gate, *weight, *bias;
};

struct Linear {  // y = x weight^T + bias
  int64_t rows, inputs, outputs;
  const float *x, *weight, *bias;  // (rows, inputs), (outputs, inputs), (outputs) or null
  float* y;                        // (rows, outputs)
};
struct LinearGradients {
  Linear linear;           // with y the gradient of the output
  float *x, *weight, *bias;  // null where there is nothing to compute
  int64_t add_x;           // 1: add to x
};

struct Residual {  // y = x + scale branch(layer_norm(x))
  const float *weight, *bias;  // (channels) of the norm; null: y = branch(x)
  const float* scale;          // (clips), or null for 1
  int64_t clip_rows;
  float epsilon;
};
struct ResidualGradients {
  float *weight, *bias;
};

struct Mlp {  // y = second gelu(first x + first_bias) + second_bias
  int64_t rows, inputs, hidden, outputs;
  const float* x;                    // (rows, inputs)
  const float *first, *first_bias;   // (hidden, inputs), (hidden)
  const float *second, *second_bias; // (outputs, hidden), (outputs)
  float* y;                          // (rows, outputs)
  Residual residual;
};
struct MlpGradients {
  Mlp mlp;  // with y the gradient of the output
  float *x, *first, *first_bias, *second, *second_bias;
  ResidualGradients residual;
};

// y = x + scale out_proj(layer_norm(scan(v)) silu(z)), where v = silu(convolution(u)) and u, z = in_proj(layer_norm(x)).
struct Mixer {
  Grid grid;       // x: v; y: what the norm reads
  int64_t frames, joints, channels;  // of the model; grid.channels are those of the scan
  const float* x;  // (B, frames, joints, channels)
  const float *in_proj, *conv_weight, *conv_bias, *x_proj, *norm_weight, *norm_bias, *out_proj;
  Residual residual;
  float norm_epsilon;
  float* y;        // (B, frames, joints, channels)
  float* inputs;   // (B, frames, joints, 2, grid.channels): u, z
};
struct MixerGradients {
  Mixer mixer;  // with y the gradient of the output
  float *x, *in_proj, *conv_weight, *conv_bias, *x_proj, *dt_weight, *dt_bias, *A, *D, *norm_weight, *norm_bias, *out_proj;
  ResidualGradients residual;
  int64_t published;
};

// Calls body(context, item) for every item, on at most `threads` threads, in any order.
void parallel_for(int64_t items, int threads, void (*body)(const void* context, int64_t item), const void* context);

template <class Body>
void parallel_for(int64_t items, int threads, const Body& body) {
  parallel_for(items, threads, [](const void* b, int64_t item) { (*(const Body*)b)(item); }, &body);
}

struct Kernels {  // one instruction set's
  int lanes;
  void (*scan_forward)(const Scan&, int threads);
  void (*scan_backward)(const ScanGradients&, int threads);
  void (*grid_forward)(const Grid&, int threads);
  void (*grid_backward)(const GridGradients&, int threads);
  void (*conv_silu)(const ConvSilu&, int threads);
  void (*conv_silu_backward)(const ConvSiluGradients&, int threads);
  void (*steps_conv_silu)(const StepsConvSilu&, int threads);
  void (*steps_conv_silu_backward)(const StepsConvSiluGradients&, int threads);
  void (*norm_gate)(const NormGate&, int threads);
  void (*norm_gate_backward)(const NormGateGradients&, int threads);
  void (*linear)(const Linear&, int threads);
  void (*linear_backward)(const LinearGradients&, int threads);
  void (*mlp)(const Mlp&, int threads);
  void (*mlp_backward)(const MlpGradients&, int threads);
  void (*mixer)(const Mixer&, int threads);
  void (*mixer_backward)(const MixerGradients&, int threads);
  void (*elementary)(const float* x, float* exp, float* softplus, float* sigmoid, int64_t n);
};

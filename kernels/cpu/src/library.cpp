// The C interface of the library: the choice of the instruction set, and the threads.
#include <atomic>
#include <string.h>
#include <thread>
#include <vector>

#include "scan.h"

extern const Kernels portable;
#if defined(__x86_64__)
extern const Kernels avx2, avx512;
#endif

static const Kernels* kernels = &portable;

// GOMP_parallel, which starts a parallel region in GNU OpenMP and compatible runtimes, or null.
static void (*openmp_parallel)(void (*)(void*), void*, unsigned threads, unsigned flags);

void parallel_for(int64_t items, int threads, void (*body)(const void*, int64_t), const void* context) {
  struct Work {
    std::atomic<int64_t> next{0};
    int64_t items;
    void (*body)(const void*, int64_t);
    const void* context;
    static void run(void* self) {
      Work& work = *(Work*)self;
      for (int64_t item; (item = work.next++) < work.items;) work.body(work.context, item);
    }
  } work;
  work.items = items;
  work.body = body;
  work.context = context;
  if (threads > items) threads = items;
  if (threads <= 1) {
    Work::run(&work);
  } else if (openmp_parallel) {
    openmp_parallel(Work::run, &work, threads, 0);
  } else {
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back(Work::run, &work);
    Work::run(&work);
    for (auto& thread : others) thread.join();
  }
}

static bool are_permutations(const Grid& grid) {
  std::vector<int64_t> seen_in(grid.cells, -1);
  for (int64_t i = 0; i < grid.directions * grid.cells; i++) {
    const int32_t cell = grid.orders[i];
    const int64_t direction = i / grid.cells;
    if (cell < 0 || cell >= grid.cells || seen_in[cell] == direction) return false;
    seen_in[cell] = direction;
  }
  return true;
}

#pragma GCC visibility push(default)
extern "C" {

// Chooses an instruction set by name; "auto" chooses the best. Returns its name, or null if it cannot run here.
const char* liftbench_instruction_set(const char* name) {
  struct { const char* name; const Kernels* kernels; bool runs; } sets[] = {
#if defined(__x86_64__)
      {"avx512", &avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")},
      {"avx2", &avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {"portable", &portable, true}};
  for (auto& set : sets)
    if (set.runs && (!strcmp(name, set.name) || !strcmp(name, "auto"))) {
      kernels = set.kernels;
      return set.name;
    }
  return nullptr;
}

void liftbench_use_openmp(void* gomp_parallel) { openmp_parallel = (decltype(openmp_parallel))gomp_parallel; }

void liftbench_scan_forward(const Scan* scan, int threads) { kernels->scan_forward(*scan, threads); }
void liftbench_scan_backward(const ScanGradients* gradients, int threads) { kernels->scan_backward(*gradients, threads); }
// Both return 0 and do nothing if a row of the order table is not a permutation of the cells.
int liftbench_grid_forward(const Grid* grid, int threads) {
  if (!are_permutations(*grid)) return 0;
  kernels->grid_forward(*grid, threads);
  return 1;
}
int liftbench_grid_backward(const GridGradients* gradients, int threads) {
  if (!are_permutations(gradients->grid)) return 0;
  kernels->grid_backward(*gradients, threads);
  return 1;
}
void liftbench_conv_silu(const ConvSilu* conv, int threads) { kernels->conv_silu(*conv, threads); }
void liftbench_conv_silu_backward(const ConvSiluGradients* gradients, int threads) {
  kernels->conv_silu_backward(*gradients, threads);
}
void liftbench_steps_conv_silu(const StepsConvSilu* conv, int threads) { kernels->steps_conv_silu(*conv, threads); }
void liftbench_steps_conv_silu_backward(const StepsConvSiluGradients* gradients, int threads) {
  kernels->steps_conv_silu_backward(*gradients, threads);
}
void liftbench_norm_gate(const NormGate* norm, int threads) { kernels->norm_gate(*norm, threads); }
void liftbench_norm_gate_backward(const NormGateGradients* gradients, int threads) {
  kernels->norm_gate_backward(*gradients, threads);
}
void liftbench_linear(const Linear* linear, int threads) { kernels->linear(*linear, threads); }
void liftbench_linear_backward(const LinearGradients* gradients, int threads) {
  kernels->linear_backward(*gradients, threads);
}
void liftbench_mlp(const Mlp* mlp, int threads) { kernels->mlp(*mlp, threads); }
void liftbench_mlp_backward(const MlpGradients* gradients, int threads) { kernels->mlp_backward(*gradients, threads); }
// As liftbench_grid_forward and liftbench_grid_backward.
int liftbench_mixer(const Mixer* mixer, int threads) {
  if (!are_permutations(mixer->grid)) return 0;
  kernels->mixer(*mixer, threads);
  return 1;
}
int liftbench_mixer_backward(const MixerGradients* gradients, int threads) {
  if (!are_permutations(gradients->mixer.grid)) return 0;
  kernels->mixer_backward(*gradients, threads);
  return 1;
}
void liftbench_elementary(const float* x, float* exp, float* softplus, float* sigmoid, int64_t n) {
  kernels->elementary(x, exp, softplus, sigmoid, n);
}

}
#pragma GCC visibility pop

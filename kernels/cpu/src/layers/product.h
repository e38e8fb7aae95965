// Linear layers: y = x W^T + b, and its gradients dx = dy W, dW = dy^T x and db, the sums of dy.
//
// A tile of the result stays in registers while the inner axis passes by. Models run their layers on tensors that have left
// the caches. So every tile prefetches its own result and a share of what the next tiles read, and its arithmetic hides that.
#pragma once
#include "../panel.h"
#include "../scan.h"

namespace {

// As many sums as there are registers, less those for two vectors of the right factor and a number of the left one.
constexpr int tile_rows = W == 16 ? 12 : 6, tile_vectors = 2, tile_columns = tile_vectors * W;
// Of these, inputs and outputs fit into the second cache.
constexpr int64_t chunk_rows = 64;

// The right factor (inner, columns) in panels of W columns, one vector per row, filled up with zeros to whole tiles.
struct Packed {
  int64_t inner, columns;
  Vec* data;

  static int64_t panels(int64_t columns) { return (columns + tile_columns - 1) / tile_columns * tile_vectors; }
  int64_t panel_vectors() const { return (inner + W - 1) / W * W; }
  int64_t size() const { return panels(columns) * panel_vectors(); }
  Vec* panel(int64_t i) const { return data + i * panel_vectors(); }
  // Element (i, j) comes from p[i * row + j * column]; one of the two distances is 1.
  void fill(int64_t i, const float* p, int64_t row, int64_t column) const {
    const int lanes = at_most(W, columns - i * W);
    if (lanes > 0) {
      Panel<float>{(float*)p + i * W * column, column, row, lanes}.read(0, inner, panel(i));
    } else {
      for (int64_t k = 0; k < inner; k++) panel(i)[k] = splat(0);
    }
  }
  // Dense rows.
  void fill_all(const float* p, int64_t row) const {
    for (int64_t i = 0; i < panels(columns); i++) fill(i, p, row, 1);
  }
};

// All of a matrix: element (i, j) is p[i * row + j * column].
struct Matrix : Packed {
  Memory memory;
  Matrix(const float* p, int64_t inner, int64_t columns, int64_t row, int64_t column, int threads)
      : Packed{inner, columns, nullptr}, memory(size()) {
    data = memory.data;
    parallel_for(panels(columns), threads, [&](int64_t i) { fill(i, p, row, column); });
  }
};

// One vector for each panel; null is zeros.
struct Bias : Memory {
  Bias(const float* bias, int64_t count) : Memory(Packed::panels(count)) {
    for (int64_t i = 0; i < Packed::panels(count); i++) {
      const int lanes = at_most(W, count - i * W);
      data[i] = bias && lanes > 0 ? load_lanes(bias + i * W, lanes) : splat(0);
    }
  }
};

// result (rows, columns) = start + left right, or what it was + left right.
struct Tile {
  const float* left;  // (rows, inner)
  int64_t left_row, left_inner;
  const Packed& right;
  const Vec* start;  // one for each panel, or null for zeros
  bool add;
  float* result;
  int64_t result_row;

  // R rows and the columns of tile `j`.
  template <int R>
  __attribute__((noinline)) void run(int64_t i, int64_t j) const {
    float* to = result + i * result_row + j * tile_columns;
    Vec sum[R][tile_vectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      __builtin_prefetch(to + r * result_row, 1);
#pragma GCC unroll 4
      for (int v = 0; v < tile_vectors; v++) sum[r][v] = start ? start[j * tile_vectors + v] : splat(0);
    }
    const float* x = left + i * left_row;
    const Vec* columns = right.panel(j * tile_vectors);
    const int64_t panel = right.panel_vectors();
    for (int64_t k = 0; k < right.inner; k++, x += left_inner, columns++) {
      Vec column[tile_vectors];
#pragma GCC unroll 4
      for (int v = 0; v < tile_vectors; v++) column[v] = columns[v * panel];
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const Vec factor = splat(x[r * left_row]);
#pragma GCC unroll 4
        for (int v = 0; v < tile_vectors; v++) sum[r][v] = fma(factor, column[v], sum[r][v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < tile_vectors; v++) {
      const int lanes = at_most(W, right.columns - j * tile_columns - v * W);
      if (lanes <= 0) return;
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        float* p = to + r * result_row + v * W;
        store_lanes(p, add ? load_lanes(p, lanes) + sum[r][v] : sum[r][v], lanes);
      }
    }
  }
  template <int R = tile_rows>
  void run(int64_t rows, int64_t i, int64_t j) const {
    if (rows == R) return run<R>(i, j);
    if constexpr (R > 1) run<R - 1>(rows, i, j);
  }
};

// Prefetches [next, end) share by share.
struct Ahead {
  const char *next, *end;
  int64_t share;
  Ahead(const float* first, int64_t floats, int64_t shares)
      : next((const char*)first), end((const char*)(first + floats)), share(floats * 4 / shares + 1) {}
  void prefetch() {
    const char* stop = next + share;
    for (; next < stop && next < end; next += 64) __builtin_prefetch(next);
  }
};

// The rows from `first` to `last`. before() runs before each of the tiles_of() tiles.
template <class Before>
void run_tiles(const Tile& tile, int64_t first, int64_t last, const Before& before) {
  for (int64_t j = 0; j < Packed::panels(tile.right.columns) / tile_vectors; j++)
    for (int64_t i = first; i < last; i += tile_rows) {
      before();
      tile.run(at_most(tile_rows, last - i), i, j);
    }
}
constexpr auto nothing = [] {};
inline int64_t tiles_of(int64_t rows, int64_t columns) {
  return (rows + tile_rows - 1) / tile_rows * (Packed::panels(columns) / tile_vectors);
}

// Calls body(first, last) for runs of rows, to be taken `at_once`. Every row is on its own, so the split may follow the
// number of threads.
template <class Body>
void in_runs(int64_t rows, int64_t at_once, int threads, const Body& body) {
  const int64_t runs = at_most((rows + at_once - 1) / at_once, 8 * threads);
  parallel_for(runs, threads, [&](int64_t run) { body(rows * run / runs, rows * (run + 1) / runs); });
}

// result (rows, columns) = start + left right, for a dense left factor.
void multiply(const Tile& tile, int64_t rows, int threads) {
  constexpr int64_t rows_at_once = 4 * tile_rows;  // of the left factor, in the first cache
  in_runs(rows, rows_at_once, threads, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += rows_at_once) {
      const int64_t last = at_most(end, first + rows_at_once), coming = at_most(rows_at_once, rows - last);
      Ahead ahead(tile.left + last * tile.left_row, coming * tile.left_row, tiles_of(last - first, tile.right.columns));
      run_tiles(tile, first, last, [&] { ahead.prefetch(); });
    }
  });
}

void linear(const Linear& l, int threads) {
  const Matrix weight(l.weight, l.inputs, l.outputs, 1, l.inputs, threads);
  const Bias bias(l.bias, l.outputs);
  multiply({l.x, l.inputs, 1, weight, bias.data, false, l.y, l.outputs}, l.rows, threads);
}

// sums (columns) += rows, `row` apart.
void add_rows(const float* rows, int64_t count, int64_t row, float* sums, int64_t columns) {
  for (int64_t i = 0; i < columns; i += W) {
    const int lanes = at_most(W, columns - i);
    Vec sum = load_lanes(sums + i, lanes);
    for (int64_t r = 0; r < count; r++) sum += load_lanes(rows + r * row + i, lanes);
    store_lanes(sums + i, sum, lanes);
  }
}

// Sums over rows in parts. As in the scan, the shape alone decides how many; they are added up in one order, and take no
// more memory than the rows, of `row` floats, that they sum.
struct Parts {
  int64_t count, size;  // in vectors
  Memory memory;

  Parts(int64_t rows, int64_t row, int64_t size)
      : count(at_most(at_most(rows, 1 + rows * row / (size * W)), at_most(16, 2 * ((rows + 511) / 512)))),
        size(size),
        memory(count * size) {}
  float* of(int64_t part) const { return (float*)(memory.data + part * size); }
  float* zeros(int64_t part) const {
    for (int64_t i = 0; i < size; i++) memory.data[part * size + i] = splat(0);
    return of(part);
  }
  // `count` floats from `from`, a multiple of W, to `to`, or nothing if that is null.
  void add_up(int64_t from, float* to, int64_t floats, int threads) const {
    constexpr int64_t several = 64 * W;
    parallel_for(to ? (floats + several - 1) / several : 0, threads, [&](int64_t item) {
      for (int64_t i = item * several; i < at_most(floats, (item + 1) * several); i += W) {
        Vec total = splat(0);
        for (int64_t part = 0; part < count; part++) total += load(of(part) + from + i);
        store_lanes(to + i, total, at_most(W, floats - i));
      }
    });
  }
};

// What a part sums: some arrays after one another, each from a whole vector.
struct PartSums {
  static constexpr int most = 6;
  float* to[most];
  int64_t from[most], counts[most], size = 0;  // in floats, floats and vectors
  int used = 0;

  // Returns where the sums begin in a part. Nothing is written to null.
  int64_t add(float* result, int64_t count) {
    to[used] = result, from[used] = size * W, counts[used] = count;
    size += vectors(count);
    return from[used++];
  }
  void write(const Parts& parts, int threads) const {
    for (int i = 0; i < used; i++) parts.add_up(from[i], to[i], counts[i], threads);
  }
};

// sums (outputs, inputs) += dy^T x over a chunk of dense rows. packed: room for x.
template <class Before>
void add_products(const float* dy, int64_t outputs, const float* x, int64_t rows, Packed& packed, float* sums,
                  const Before& before) {
  packed.inner = rows;
  packed.fill_all(x, packed.columns);
  run_tiles({dy, 1, outputs, packed, nullptr, true, sums, packed.columns}, 0, outputs, before);
}

// Gradients of some outputs' weights and bias over some of the rows, from zero.
struct WeightItem {
  const LinearGradients& gradients;
  int64_t first_row, last_row, first_output, last_output;
  float *weight, *bias;  // of all outputs, or null

  void run() const {
    const Linear& l = gradients.linear;
    const int64_t outputs = last_output - first_output, tiles = tiles_of(outputs, l.inputs);
    Packed x{chunk_rows, l.inputs, nullptr};
    Memory memory(x.size());
    x.data = memory.data;
    for (int64_t o = first_output; bias && o < last_output; o++) bias[o] = 0;
    for (int64_t row = first_row; row < last_row; row += chunk_rows) {
      x.inner = at_most(chunk_rows, last_row - row);
      const float* dy = l.y + row * l.outputs;
      if (bias) add_rows(dy + first_output, x.inner, l.outputs, bias + first_output, outputs);
      if (!weight) continue;
      x.fill_all(l.x + row * l.inputs, l.inputs);
      const Tile tile{dy, 1, l.outputs, x, nullptr, row > first_row, weight, l.inputs};
      const int64_t next = row + x.inner, coming = at_most(chunk_rows, l.rows - next);
      Ahead ahead(l.x + next * l.inputs, coming * l.inputs, tiles);
      Ahead ahead_dy(l.y + next * l.outputs, coming * l.outputs, tiles);
      run_tiles(tile, first_output, last_output, [&] { ahead.prefetch(), ahead_dy.prefetch(); });
    }
  }
};

void weight_gradients(const LinearGradients& gradients, int threads) {
  const Linear& l = gradients.linear;
  const int64_t weights = vectors(l.inputs * l.outputs) * W;
  const Parts parts(l.rows, l.inputs + l.outputs, weights / W + vectors(l.outputs));
  constexpr int64_t outputs_at_once = 8 * tile_rows;
  const int64_t groups = (l.outputs + outputs_at_once - 1) / outputs_at_once;
  parallel_for(parts.count * groups, threads, [&](int64_t item) {
    const int64_t part = item / groups, first = item % groups * outputs_at_once;
    const int64_t first_row = l.rows * part / parts.count, last_row = l.rows * (part + 1) / parts.count;
    float *weight = gradients.weight ? parts.of(part) : nullptr, *bias = gradients.bias ? parts.of(part) + weights : nullptr;
    WeightItem{gradients, first_row, last_row, first, at_most(l.outputs, first + outputs_at_once), weight, bias}.run();
  });
  parts.add_up(0, gradients.weight, l.inputs * l.outputs, threads);
  parts.add_up(weights, gradients.bias, l.outputs, threads);
}

void linear_backward(const LinearGradients& gradients, int threads) {
  const Linear& l = gradients.linear;
  if (gradients.x) {
    const Matrix weight(l.weight, l.outputs, l.inputs, l.inputs, 1, threads);
    multiply({l.y, l.outputs, 1, weight, nullptr, gradients.add_x != 0, gradients.x, l.inputs}, l.rows, threads);
  }
  if (gradients.weight || gradients.bias) weight_gradients(gradients, threads);
}

}  // namespace

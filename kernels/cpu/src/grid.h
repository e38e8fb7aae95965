// PoseMamba's scan of a grid in K directions, from channels-last input and projections to the sum of the outputs. A work
// item is a run of channel blocks of one clip; it takes the directions one after the other, gathers the cells of a chunk
// through the order table, expands the low-rank delta in registers and adds the outputs where they belong.
//
// A row holds the projections of one step: low-rank delta (R), B (N), C (N).
#pragma once
#include "panel.h"
#include "recurrence.h"
#include "scan.h"

namespace {

struct Direction {
  const Grid& grid;
  int64_t batch, k;

  int64_t row_floats() const { return grid.rank + 2 * grid.states; }
  const int32_t* cells() const { return grid.orders + k * grid.cells; }
  bool limb() const { return grid.limb[k]; }
  const float* projected(int64_t cell) const {
    return grid.projected + ((batch * grid.cells + cell) * grid.directions + k) * row_floats();
  }
  template <class T>
  T* channels(const T* p, int64_t cell, int64_t block) const {
    return (T*)p + (batch * grid.cells + cell) * grid.channels + block * W;
  }
  Vec per_channel(const float* p, int64_t block) const {
    return load(p + k * grid.channels + block * W, lanes_of(grid.channels, block));
  }
  Vec* checkpoint(int64_t t, int64_t block) const {
    int64_t intervals = (grid.cells + interval - 1) / interval;
    int64_t index = ((batch * grid.directions + k) * intervals + t / interval) * padded(grid.channels) + block * W;
    return (Vec*)(grid.checkpoints + index * grid.states);
  }

  // Per block: A prescaled and the rows of dt_weight, one vector per state and rank.
  void load_parameters(int64_t block, Vec* A, Vec* dt_weight) const {
    const int64_t channel = k * grid.channels + block * W;
    const int lanes = lanes_of(grid.channels, block);
    load_columns(grid.A + channel * grid.states, lanes, grid.states, Exp::scale, A);
    load_columns(grid.dt_weight + channel * grid.rank, lanes, grid.rank, 1, dt_weight);
  }

  // The limb term is linear, so the projections of a cell and of its neighbour add up too.
  void pack(int64_t t0, int steps, float* __restrict rows) const {
    const int64_t floats = row_floats(), row = grid.directions * floats;
    const float* first = projected(0);
    const int32_t *at = cells() + t0, *neighbours = grid.neighbours;
    const bool adds = limb();
    for (int t = 0; t < steps; t++, rows += floats) {
      const float *own = first + at[t] * row, *neighbour = first + neighbours[at[t]] * row;
      in_vectors(floats, [&](int64_t i, int lanes) {
        const Vec v = load_lanes(own + i, lanes);
        store_lanes(rows + i, adds ? v + load_lanes(neighbour + i, lanes) : v, lanes);
      });
    }
  }
  // The reverse, without the limb term; p is laid out like the projections.
  void unpack(int64_t t0, int steps, const float* __restrict rows, float* p) const {
    const int64_t floats = row_floats(), row = grid.directions * floats;
    float* first = p + (projected(0) - grid.projected);
    const int32_t* at = cells() + t0;
    for (int t = 0; t < steps; t++, rows += floats) {
      float* to = first + at[t] * row;
      in_vectors(floats, [&](int64_t i, int lanes) { store_lanes(to + i, load_lanes(rows + i, lanes), lanes); });
    }
  }

  // One block of some cells of p, (B, cells, channels), and of their neighbours if the limb term is wanted. The loops keep
  // what they need in variables: after a store, a compiler would read it from `grid` again.
  template <class T>
  void gather(const T* p, int64_t t0, int steps, int64_t block, bool with_limb, Vec* out) const {
    const T* first = channels(p, 0, block);
    const int32_t *at = cells() + t0, *neighbours = grid.neighbours;
    const int64_t row = grid.channels;
    const int lanes = lanes_of(row, block);
    for (int t = 0; t < steps; t++) out[t] = load_lanes(first + at[t] * row, lanes);
    for (int t = 0; with_limb && t < steps; t++) out[t] += load_lanes(first + neighbours[at[t]] * row, lanes);
  }
  template <class T>
  void scatter(const Vec* values, int64_t t0, int steps, int64_t block, bool add, bool with_limb, T* p) const {
    T* first = channels(p, 0, block);
    const int32_t *at = cells() + t0, *neighbours = grid.neighbours;
    const int64_t row = grid.channels;
    const int lanes = lanes_of(row, block);
    for (int t = 0; t < steps; t++) {
      T* to = first + at[t] * row;
      store_lanes(to, add ? load_lanes(to, lanes) + values[t] : values[t], lanes);
    }
    for (int t = 0; with_limb && t < steps; t++) {
      T* to = first + neighbours[at[t]] * row;
      store_lanes(to, load_lanes(to, lanes) + values[t], lanes);
    }
  }

  // One block of the cells from step t.
  template <class T>
  void prefetch(const T* p, int64_t t, int count, int64_t block, Upcoming& ahead) const {
    if (begins_line(block)) ahead.add(channels(p, 0, block), grid.channels, cells() + t, count);
  }
  // A cache line of their projections, or of what is laid out like these.
  void prefetch_rows(const float* p, int64_t line, int64_t t, int count, Upcoming& ahead) const {
    ahead.add(p + (projected(0) - grid.projected) + line * 16, grid.directions * row_floats(), cells() + t, count);
  }
  int64_t row_lines() const { return (row_floats() + 15) / 16; }
};

// delta += dt_weight . low rank, for N ranks at once.
template <int N>
inline void expand_some(int steps, const float* rows, int64_t row_floats, const Vec* dt_weight, Vec* delta) {
  Vec w[N];
  for (int r = 0; r < N; r++) w[r] = dt_weight[r];
  for (int t = 0; t < steps; t++, rows += row_floats) {
    Vec even = delta[t], odd = splat(0);
#pragma GCC unroll 8
    for (int r = 0; r < N; r++) {
      Vec& sum = r % 2 ? odd : even;
      sum = fma(w[r], splat(rows[r]), sum);
    }
    delta[t] = even + odd;
  }
}

inline void expand(int steps, int64_t rank, const float* rows, int64_t row_floats, const Vec* dt_weight, Vec* delta) {
  for (int t = 0; t < steps; t++) delta[t] = splat(0);
  int64_t r = 0;
  for (; r + 8 <= rank; r += 8) expand_some<8>(steps, rows + r, row_floats, dt_weight + r, delta);
  for (; r + 4 <= rank; r += 4) expand_some<4>(steps, rows + r, row_floats, dt_weight + r, delta);
  for (; r < rank; r++) expand_some<1>(steps, rows + r, row_floats, dt_weight + r, delta);
}

// The reverse: add the gradient of delta to those of the low rank (per lane) and of dt_weight, for N ranks at once.
template <int N>
inline void contract_some(int steps, const float* rows, int64_t row_floats, const Vec* dt_weight, const Vec* d_delta,
                          Vec* d_rows, Vec* d_weight) {
  Vec w[N], sum[N];
  for (int r = 0; r < N; r++) w[r] = dt_weight[r], sum[r] = d_weight[r];
  for (int t = 0; t < steps; t++, rows += row_floats, d_rows += row_floats)
#pragma GCC unroll 8
    for (int r = 0; r < N; r++) {
      d_rows[r] = fma(d_delta[t], w[r], d_rows[r]);
      sum[r] = fma(d_delta[t], splat(rows[r]), sum[r]);
    }
  for (int r = 0; r < N; r++) d_weight[r] = sum[r];
}

inline void contract(int steps, int64_t rank, const float* rows, int64_t row_floats, const Vec* dt_weight,
                     const Vec* d_delta, Vec* d_rows, Vec* d_weight) {
  int64_t r = 0;
  for (; r + 4 <= rank; r += 4)
    contract_some<4>(steps, rows + r, row_floats, dt_weight + r, d_delta, d_rows + r, d_weight + r);
  for (; r < rank; r++)
    contract_some<1>(steps, rows + r, row_floats, dt_weight + r, d_delta, d_rows + r, d_weight + r);
}

// T: how x and y are stored. The directions add up in y, or, if T is too narrow for that, in `sums`.
template <class T>
void grid_forward_item(const Grid& grid, int64_t batch, int64_t first_block, int64_t last_block) {
  constexpr int chunk = 64;
  const int64_t states = grid.states, blocks = last_block - first_block, row_floats = grid.rank + 2 * states;
  constexpr bool wide = std::is_same<T, float>::value;
  Memory memory(blocks * (2 * states + grid.rank) + vectors(chunk * row_floats) + (wide ? 0 : blocks * grid.cells));
  Vec *A = memory.take(blocks * states), *dt_weight = memory.take(blocks * grid.rank), *h = memory.take(blocks * states);
  float* rows = (float*)memory.take(vectors(chunk * row_floats));
  Vec* sums = memory.take(0);  // (blocks, cells), unless wide
  Vec delta[chunk], x[chunk], y[chunk];

  for (int64_t k = 0; k < grid.directions; k++) {
    const Direction d{grid, batch, k};
    for (int64_t b = 0; b < blocks; b++) d.load_parameters(first_block + b, A + b * states, dt_weight + b * grid.rank);
    for (int64_t i = 0; i < blocks * states; i++) h[i] = splat(0);
    for (int64_t t0 = 0; t0 < grid.cells; t0 += chunk) {
      const int steps = at_most(chunk, grid.cells - t0);
      d.pack(t0, steps, rows);
      for (int64_t b = 0; b < blocks; b++) {
        const int64_t block = first_block + b;
        d.gather((const T*)grid.x, t0, steps, block, d.limb(), y);
        expand(steps, grid.rank, rows, row_floats, dt_weight + b * grid.rank, delta);
        const Vec largest =
            discretise(steps, d.per_channel(grid.dt_bias, block), d.per_channel(grid.D, block), delta, x, y);
        const auto run = needs_clamp(largest, A + b * states, states) ? advance_all<true> : advance_all<false>;
        const int64_t step = grid.checkpoints ? interval : chunk;
        const bool more = t0 + 2 * chunk <= grid.cells, last = b + 1 == blocks && more;  // more: a whole chunk follows
        const int64_t next_block = b + 1 == blocks ? first_block : block + 1, next = last ? t0 + chunk : t0;
        for (int t = 0; t < steps; t += step) {
          const int some = at_most(step, steps - t);
          Upcoming ahead;
          d.prefetch((const T*)grid.x, next + t, some, next_block, ahead);
          if (wide)
            d.prefetch((const T*)grid.y, next + t, some, next_block, ahead);
          else
            ahead.add(sums + (next_block - first_block) * grid.cells, 1, d.cells() + next + t, some);
          if (more && b < d.row_lines()) d.prefetch_rows(grid.projected, b, t0 + chunk + t, some, ahead);
          if (grid.checkpoints) stream_out(d.checkpoint(t0 + t, block), h + b * states, states);
          run(some, states, delta + t, x + t, rows + t * row_floats + grid.rank, row_floats,
              A + b * states, h + b * states, y + t, ahead);
        }
        if constexpr (!wide) {
          Vec* own = sums + b * grid.cells;
          for (int t = 0; t < steps; t++) {
            Vec& sum = own[d.cells()[t0 + t]];
            y[t] = sum = k == 0 ? y[t] : sum + y[t];
          }
          if (k + 1 < grid.directions) continue;
        }
        d.scatter(y, t0, steps, block, wide && k > 0, false, (T*)grid.y);
      }
    }
  }
}

void grid_forward(const Grid& grid, int threads) {
  const int64_t blocks = blocks_of(grid.channels);
  // Channels share nothing but the rows, so the split may follow the number of threads.
  const int64_t parts = grid.batch % threads == 0 ? 1 : at_most(blocks, threads);
  const auto run_item = grid.bfloat16 ? grid_forward_item<Bfloat16> : grid_forward_item<float>;
  parallel_for(grid.batch * parts, threads, [&](int64_t item) {
    const int64_t part = item % parts;
    run_item(grid, item / parts, blocks * part / parts, blocks * (part + 1) / parts);
  });
}

struct GridSums {  // over time and clips, per direction and block: a vector per state (A), per rank (dt_weight), and one
  Vec *A, *dt_weight, *D, *dt_bias;
};

// Some directions of one clip. dx: their share of the gradient of x. That of the projections is without the limb term.
template <class SumsOf>
void grid_backward_item(const GridGradients& gradients, int64_t batch, int64_t first_direction, int64_t last_direction,
                        float* dx, const SumsOf& sums_of) {
  constexpr int Q = 2;
  const Grid& grid = gradients.grid;
  const int64_t states = grid.states, rank = grid.rank, blocks = blocks_of(grid.channels);
  const int64_t row_floats = rank + 2 * states;
  Memory memory(blocks * (2 * states + rank) + interval * row_floats + vectors(interval * row_floats));
  Vec *A = memory.take(blocks * states), *dt_weight = memory.take(blocks * rank), *carry = memory.take(blocks * states);
  Vec* d_rows = memory.zeros(interval * row_floats);
  float* rows = (float*)memory.take(vectors(interval * row_floats));
  BlockGradient part[Q];

  // The last direction writes dx and the others add to it, unless its limb term adds from the start.
  const bool zeros_first = grid.limb[last_direction - 1] && !gradients.published;
  if (zeros_first) memset(Direction{grid, batch, 0}.channels(dx, 0, 0), 0, grid.cells * grid.channels * sizeof(float));

  for (int64_t k = last_direction - 1; k >= first_direction; k--) {
    const Direction d{grid, batch, k};
    const bool adds = k < last_direction - 1 || zeros_first;
    for (int64_t b = 0; b < blocks; b++) d.load_parameters(b, A + b * states, dt_weight + b * rank);
    for (int64_t i = 0; i < blocks * states; i++) carry[i] = splat(0);
    for (int64_t t0 = (grid.cells - 1) / interval * interval; t0 >= 0; t0 -= interval) {
      const int steps = at_most(interval, grid.cells - t0);
      d.pack(t0, steps, rows);
      for (int64_t b = 0; b < blocks; b += Q) {
        const int together = at_most(Q, blocks - b);
        bool clamp = false;
        for (int q = 0; q < together; q++) {
          d.gather(grid.x, t0, steps, b + q, d.limb(), part[q].u);
          d.gather(grid.y, t0, steps, b + q, false, part[q].dy);
          expand(steps, rank, rows, row_floats, dt_weight + (b + q) * rank, part[q].delta);
          const Vec largest = part[q].enter(steps, d.per_channel(grid.dt_bias, b + q));
          clamp |= needs_clamp(largest, A + (b + q) * states, states);
        }
        const auto run = together == Q ? (clamp ? retreat_all<Q, true> : retreat_all<Q, false>)
                                       : (clamp ? retreat_all<1, true> : retreat_all<1, false>);
        const bool same_interval = b + Q < blocks;
        const int64_t t = same_interval || t0 == 0 ? t0 : t0 - interval, next = same_interval ? b + Q : 0;
        const int count = t == t0 ? steps : interval;
        Upcoming ahead;
        for (int64_t block = next; block < next + Q; block++)
          for (const float* p : {grid.x, (const float*)grid.y, (const float*)dx})
            d.prefetch(p, t, count, block, ahead);
        ahead.add((float*)d.checkpoint(t, next), W, W * W, interval);
        for (int64_t i = 0; !same_interval && i < d.row_lines(); i++) {
          d.prefetch_rows(gradients.projected, i, t0, steps, ahead);
          d.prefetch_rows(grid.projected, i, t, count, ahead);
        }
        run(steps, states, part, rows + rank, row_floats, A + b * states, d.checkpoint(t0, b), carry + b * states,
            sums_of(k, b).A, d_rows + rank, ahead);
        for (int q = 0; q < together; q++) {
          const GridSums sums = sums_of(k, b + q);
          part[q].leave(steps, d.per_channel(grid.D, b + q), *sums.D, *sums.dt_bias);
          contract(steps, rank, rows, row_floats, dt_weight + (b + q) * rank, part[q].g_A, d_rows, sums.dt_weight);
          d.scatter(part[q].g_B, t0, steps, b + q, adds, d.limb() && !gradients.published, dx);
        }
      }
      take_lane_sums(d_rows, steps * row_floats, rows);  // whose old values have been used
      d.unpack(t0, steps, rows, gradients.projected);
    }
  }
}

// The shape alone decides every split, and every sum has one order: gradients do not depend on the number of threads.
void grid_backward(const GridGradients& gradients, int threads) {
  const Grid& grid = gradients.grid;
  const int64_t blocks = blocks_of(grid.channels), states = grid.states, row_floats = grid.rank + 2 * states;
  const int64_t runs = at_most(64, grid.batch);  // of clips that share one set of sums
  // Few clips are split by directions: all blocks of one share their steps' projections, and what they add to these.
  const int64_t parts = runs % 4 == 0 ? 1 : at_most(grid.directions, (7 + runs) / runs);
  const int64_t floats = grid.batch * grid.cells * grid.channels;
  const int64_t per_block = states + grid.rank + 2, per_run = grid.directions * blocks * per_block;
  Memory memory(runs * per_run + (parts - 1) * vectors(floats));
  Vec* all_sums = memory.zeros(runs * per_run);
  float* partial = (float*)memory.take((parts - 1) * vectors(floats));

  parallel_for(runs * parts, threads, [&](int64_t item) {
    const int64_t part = item % parts, run = item / parts;
    float* dx = part == 0 ? gradients.x : partial + (part - 1) * vectors(floats) * W;
    const auto sums_of = [&](int64_t k, int64_t block) {
      Vec* p = all_sums + run * per_run + k * blocks * per_block;
      Vec *dt_weight = p + blocks * states, *rest = dt_weight + blocks * grid.rank;
      return GridSums{p + block * states, dt_weight + block * grid.rank, rest + block, rest + blocks + block};
    };
    for (int64_t batch = grid.batch * run / runs; batch < grid.batch * (run + 1) / runs; batch++)
      grid_backward_item(gradients, batch, grid.directions * part / parts, grid.directions * (part + 1) / parts, dx, sums_of);
  });

  parallel_for(grid.directions * blocks, threads, [&](int64_t item) {
    const int64_t k = item / blocks, block = item % blocks, channel = k * grid.channels + block * W;
    const int lanes = lanes_of(grid.channels, block);
    const Vec* p = all_sums + k * blocks * per_block;
    const Vec *dt_weight = p + blocks * states, *rest = dt_weight + blocks * grid.rank;
    write_sums(p + block * states, runs, per_run, lanes, states, gradients.A + channel * states);
    write_sums(dt_weight + block * grid.rank, runs, per_run, lanes, grid.rank, gradients.dt_weight + channel * grid.rank);
    write_sums(rest + block, runs, per_run, lanes, 1, gradients.D + channel);
    write_sums(rest + blocks + block, runs, per_run, lanes, 1, gradients.dt_bias + channel);
  });

  // Add the parts, then the limb term's share, which every cell of a limb direction passes on to its neighbour.
  constexpr int64_t at_once = 1024 * W;
  parallel_for(parts > 1 ? (floats + at_once - 1) / at_once : 0, threads, [&](int64_t piece) {
    for (int64_t i = piece * at_once; i < at_most(floats, (piece + 1) * at_once); i += W) {
      const int lanes = at_most(W, floats - i);
      Vec sum = load_lanes(gradients.x + i, lanes);
      for (int64_t part = 1; part < parts; part++) sum += load(partial + (part - 1) * vectors(floats) * W + i);
      store_lanes(gradients.x + i, sum, lanes);
    }
  });
  const int64_t row = grid.directions * row_floats;
  parallel_for(grid.batch * grid.directions, threads, [&](int64_t item) {
    const int64_t first = item / grid.directions * grid.cells * row + item % grid.directions * row_floats;
    const float* from = gradients.projected + first;
    float* to = gradients.projected_with_limb + first;
    if (to != from)
      for (int64_t cell = 0; cell < grid.cells; cell++) memcpy(to + cell * row, from + cell * row, row_floats * 4);
    if (!grid.limb[item % grid.directions]) return;
    Memory own(vectors(grid.cells * row_floats));
    float* copy = (float*)own.take(0);
    for (int64_t cell = 0; cell < grid.cells; cell++)
      memcpy(copy + cell * row_floats, from + cell * row, row_floats * 4);
    for (int64_t cell = 0; cell < grid.cells; cell++)
      for (int64_t i = 0; i < row_floats; i++) to[grid.neighbours[cell] * row + i] += copy[cell * row_floats + i];
  });
}

}  // namespace

// The selective scan of (B, channels, L) tensors. A work item is a run of sequences and of channel blocks of one group; it
// walks a sequence in chunks, packs B and C once per chunk and then takes the blocks one after the other.
#pragma once
#include "panel.h"
#include "recurrence.h"
#include "scan.h"

namespace {

// One stream of one sequence and group.
struct Sequence {
  const Scan& scan;
  const Stream& stream;
  int64_t batch, group;

  // A view in the stream's own direction of time.
  template <class T>
  Panel<T> directed(T* data, int64_t lane, int64_t time, int lanes) const {
    if (stream.reverse) return {data + (scan.length - 1) * time, lane, -time, lanes};
    return {data, lane, time, lanes};
  }
  template <class T = float>
  Panel<T> rows(const Rows& r, int64_t block) const {
    const int64_t channel = group * scan.channels + block * W;
    T* data = (T*)r.data + batch * r.batch + channel * r.channel;
    return directed(data, r.channel, r.time, lanes_of(scan.channels, block));
  }
  template <class T = float>
  Panel<T> states(const States& s, int64_t first) const {
    T* data = (T*)s.data + batch * s.batch + group * s.group + first * s.state;
    return directed(data, s.state, s.time, lanes_of(scan.states - first, 0));
  }
  Vec* checkpoint(int64_t t, int64_t block) const {
    int64_t intervals = (scan.length + interval - 1) / interval;
    int64_t index = ((batch * intervals + t / interval) * scan.groups + group) * padded(scan.channels);
    return (Vec*)(stream.checkpoints + (index + block * W) * scan.states);
  }

  // B and C of `count` steps from t as rows of 2 N floats.
  template <class T = float>
  void pack(int64_t t, int count, float* bc) const {
    for (int which = 0; which < 2; which++)
      for (int64_t n = 0; n < scan.states; n += W) {
        const Panel<T> panel = states<T>(which ? stream.C : stream.B, n);
        Vec buffer[W];
        for (int i = 0; i < count; i += W) {
          int some = at_most(W, count - i);
          panel.read(t + i, some, buffer);
          for (int j = 0; j < some; j++)
            store(bc + ((i + j) * 2 + which) * scan.states + n, buffer[j], panel.lanes);
        }
      }
  }

  // B's or C's part of rows of 2 N floats.
  void write_states(const States& to, int64_t t, int count, const float* rows) const {
    for (int64_t n = 0; n < scan.states; n += W) {
      const Panel<float> panel = states(to, n);
      Vec some[interval];
      for (int i = 0; i < count; i++) some[i] = load_lanes(rows + i * 2 * scan.states + n, panel.lanes);
      panel.write(t, count, some);
    }
  }

  // Per channel of a block: A prescaled, one vector per state.
  void load_A(int64_t block, Vec* A) const {
    int64_t channel = group * scan.channels + block * W;
    load_columns(stream.A + channel * scan.states, lanes_of(scan.channels, block), scan.states, Exp::scale, A);
  }
  Vec per_channel(const float* p, int64_t block) const {
    return load(p + group * scan.channels + block * W, lanes_of(scan.channels, block));
  }
};

// Sequences first_batch to last_batch of one group, as many blocks of it as given; A is loaded once for all of them.
// T: how u, delta, B, C and y are stored. add: to the output of the first stream, which is in y, or, if T is too narrow
// for that, in `sums`: a vector per sequence, block and step, or null if there is one stream.
template <class T>
void forward_item(const Scan& scan, const Stream& stream, int64_t group, int64_t first_batch, int64_t last_batch,
                  int64_t first_block, int64_t last_block, bool add, Vec* sums) {
  constexpr int chunk = 256;
  const int64_t states = scan.states, blocks = last_block - first_block;
  // The buffers lie a third of a page apart: a load waits for an earlier store at the same offset in a page.
  constexpr int apart = chunk + 4096 / sizeof(Vec) / 3;
  Memory memory(2 * blocks * states + 3 * apart + vectors(2 * chunk * states));
  Vec *A = memory.take(blocks * states), *h = memory.take(blocks * states);
  Vec *delta = memory.take(apart), *x = memory.take(apart), *y = memory.take(apart);
  float* bc = (float*)memory.take(vectors(2 * chunk * states));
  for (int64_t b = 0; b < blocks; b++) Sequence{scan, stream, 0, group}.load_A(first_block + b, A + b * states);

  for (int64_t batch = first_batch; batch < last_batch; batch++) {
    const Sequence s{scan, stream, batch, group};
    for (int64_t i = 0; i < blocks * states; i++) h[i] = splat(0);
    for (int64_t t0 = 0; t0 < scan.length; t0 += chunk) {
      const int steps = at_most(chunk, scan.length - t0);
      s.pack<T>(t0, steps, bc);
      for (int64_t b = 0; b < blocks; b++) {
        const int64_t block = first_block + b;
        const Vec bias = s.per_channel(stream.delta_bias, block), D = s.per_channel(stream.D, block);
        const Panel<T> u = s.rows<T>(stream.u, block), raw = s.rows<T>(stream.delta, block);
        Vec largest = splat(0);
        for (int t = 0; t < steps; t += W) {
          const int some = at_most(W, steps - t);
          u.read(t0 + t, some, y + t);
          raw.read(t0 + t, some, delta + t);
          largest = max(largest, discretise(some, bias, D, delta + t, x + t, y + t));
        }
        const auto run = needs_clamp(largest, A + b * states, states) ? advance_all<true> : advance_all<false>;
        // Prefetch the next block, chunk or sequence.
        const bool last = b + 1 == blocks, last_chunk = last && t0 + chunk >= scan.length;
        const Sequence following{scan, stream, last_chunk ? batch + 1 : batch, group};
        const int64_t next_block = last ? first_block : block + 1, next = last ? (last_chunk ? 0 : t0 + chunk) : t0;
        const int64_t step = stream.checkpoints ? interval : chunk;
        for (int t = 0; t < steps; t += step) {
          const int some = at_most(step, steps - t);
          Upcoming ahead;
          for (const Rows& rows : {stream.u, stream.delta, scan.y})
            if (rows.channel != 1 || begins_line(next_block))
              following.rows<T>(rows, next_block).prefetch_chunk(next + t, some, ahead);
          if (stream.checkpoints) stream_out(s.checkpoint(t0 + t, block), h + b * states, states);
          run(some, states, delta + t, x + t, bc + 2 * states * t, 2 * states, A + b * states,
              h + b * states, y + t, ahead);
        }
        if (sums) {
          Vec* all = sums + ((batch - first_batch) * blocks + b) * scan.length;
          const Panel<float> sum = s.directed((float*)all, 1, W, W);
          if (!add) {
            sum.write(t0, steps, y);
            continue;
          }
          sum.read(t0, steps, delta);
          for (int t = 0; t < steps; t++) y[t] += delta[t];
        }
        s.rows<T>(scan.y, block).write(t0, steps, y, add && !sums);
      }
    }
  }
}

struct Sums {  // over time and sequences, one vector per block (D, delta_bias) or per block and state (A)
  Vec *A, *D, *delta_bias;
};

void backward_item(const Sequence& s, const Rows& u_gradient, const Rows& delta_gradient, const States& B_gradient,
                   const States& C_gradient, int64_t first_block, int64_t last_block, const Sums& sums) {
  constexpr int Q = 2;
  const int64_t states = s.scan.states, blocks = last_block - first_block;
  Memory memory(2 * blocks * states + 2 * interval * states + vectors(2 * interval * states));
  Vec *A = memory.take(blocks * states), *carry = memory.zeros(blocks * states);
  Vec* d_bc = memory.zeros(2 * interval * states);
  float* bc = (float*)memory.take(vectors(2 * interval * states));
  BlockGradient part[Q];
  for (int64_t b = 0; b < blocks; b++) s.load_A(first_block + b, A + b * states);

  for (int64_t t0 = (s.scan.length - 1) / interval * interval; t0 >= 0; t0 -= interval) {
    const int steps = at_most(interval, s.scan.length - t0);
    s.pack(t0, steps, bc);
    for (int64_t b = 0; b < blocks; b += Q) {
      const int together = at_most(Q, blocks - b);
      bool clamp = false;
      for (int q = 0; q < together; q++) {
        const int64_t block = first_block + b + q;
        BlockGradient& g = part[q];
        s.rows(s.stream.u, block).read(t0, steps, g.u);
        s.rows(s.stream.delta, block).read(t0, steps, g.delta);
        s.rows(s.scan.y, block).read(t0, steps, g.dy);
        const Vec largest = g.enter(steps, s.per_channel(s.stream.delta_bias, block));
        clamp |= needs_clamp(largest, A + (b + q) * states, states);
      }
      const auto run = together == Q ? (clamp ? retreat_all<Q, true> : retreat_all<Q, false>)
                                     : (clamp ? retreat_all<1, true> : retreat_all<1, false>);
      Upcoming ahead;
      {
        const bool same_interval = b + Q < blocks;
        const int64_t t = same_interval || t0 == 0 ? t0 : t0 - interval, next = first_block + (same_interval ? b + Q : 0);
        for (const Rows& rows : {s.stream.u, s.stream.delta, s.scan.y, u_gradient, delta_gradient})
          s.rows(rows, next).prefetch_interval(t, t == t0 ? steps : interval, ahead);
        ahead.add((float*)s.checkpoint(t, next), W, W * W, interval);
      }
      run(steps, states, part, bc, 2 * states, A + b * states, s.checkpoint(t0, first_block + b), carry + b * states,
          sums.A + b * states, d_bc, ahead);
      for (int q = 0; q < together; q++) {
        const int64_t block = first_block + b + q;
        BlockGradient& g = part[q];
        g.leave(steps, s.per_channel(s.stream.D, block), sums.D[b + q], sums.delta_bias[b + q]);
        s.rows(u_gradient, block).write(t0, steps, g.g_B);
        s.rows(delta_gradient, block).write(t0, steps, g.g_A);
      }
    }
    take_lane_sums(d_bc, 2 * steps * states, bc);  // whose old values have been used
    s.write_states(B_gradient, t0, steps, bc);
    s.write_states(C_gradient, t0, steps, bc + states);
  }
}

void scan_forward(const Scan& scan, int threads) {
  const int64_t blocks = blocks_of(scan.channels), rows = scan.batch * scan.groups;
  // Parts of a group share nothing but B and C, so the split may follow the number of threads.
  const int64_t parts = at_most(blocks, rows >= threads ? 1 : (4 * threads + rows - 1) / rows);
  const int64_t runs = at_most(scan.batch, (8 * threads + scan.groups - 1) / scan.groups);
  const auto run_item = scan.bfloat16 ? forward_item<Bfloat16> : forward_item<float>;
  parallel_for(runs * scan.groups * parts, threads, [&](int64_t item) {
    const int64_t part = item % parts, group = item / parts % scan.groups, run = item / parts / scan.groups;
    const int64_t first_batch = scan.batch * run / runs, last_batch = scan.batch * (run + 1) / runs;
    const int64_t first_block = blocks * part / parts, last_block = blocks * (part + 1) / parts;
    const bool needs_sums = scan.bfloat16 && scan.streams > 1;
    Memory sums(needs_sums ? (last_batch - first_batch) * (last_block - first_block) * scan.length : 1);
    for (int64_t i = 0; i < scan.streams; i++)
      run_item(scan, scan.stream[i], group, first_batch, last_batch, first_block, last_block, i > 0,
               needs_sums ? sums.data : nullptr);
  });
}

// The shape alone decides every split, and every sum has one order: gradients do not depend on the number of threads.
void scan_backward(const ScanGradients& gradients, int threads) {
  const Scan& scan = gradients.scan;
  const int64_t blocks = blocks_of(scan.channels), states = scan.states;
  const int64_t runs = at_most(64, scan.batch);  // of sequences that share one set of sums
  const int64_t parts = at_most((blocks + 1) / 2, (3 + runs * scan.groups) / (runs * scan.groups));
  const int64_t bc_floats = scan.batch * scan.groups * states * scan.length;
  const int64_t run_vectors = scan.groups * blocks * (states + 2);
  Memory memory(runs * run_vectors + (parts > 1 ? 2 * parts * vectors(bc_floats) : 0));

  for (int64_t i = 0; i < scan.streams; i++) {
    const auto& out = gradients.stream[i];
    memory.used = 0;
    Vec* all_sums = memory.zeros(runs * run_vectors);
    const auto sums_of = [&](int64_t run, int64_t group, int64_t block) {
      Vec* p = all_sums + run * run_vectors + group * blocks * (states + 2);
      return Sums{p + block * states, p + blocks * states + block, p + blocks * (states + 1) + block};
    };
    // With several parts, each has its own dB and dC, laid out as (B, groups, L, N).
    float* partial = parts > 1 ? (float*)memory.take(2 * parts * vectors(bc_floats)) : nullptr;
    const auto partial_of = [&](int64_t part, int which) {
      return States{partial + (part * 2 + which) * vectors(bc_floats) * W, scan.groups * states * scan.length,
                    states * scan.length, 1, states};
    };

    parallel_for(runs * scan.groups * parts, threads, [&](int64_t item) {
      const int64_t part = item % parts, group = item / parts % scan.groups, run = item / parts / scan.groups;
      const int64_t first = blocks_before(part, parts, blocks), last = blocks_before(part + 1, parts, blocks);
      for (int64_t batch = scan.batch * run / runs; batch < scan.batch * (run + 1) / runs; batch++)
        backward_item({scan, scan.stream[i], batch, group}, out.u, out.delta, parts > 1 ? partial_of(part, 0) : out.B,
                      parts > 1 ? partial_of(part, 1) : out.C, first, last, sums_of(run, group, first));
    });

    parallel_for(scan.groups * blocks, threads, [&](int64_t item) {
      const int64_t group = item / blocks, block = item % blocks, channel = group * scan.channels + block * W;
      const int lanes = lanes_of(scan.channels, block);
      const Sums sums = sums_of(0, group, block);
      write_sums(sums.A, runs, run_vectors, lanes, states, out.A + channel * states);
      write_sums(sums.D, runs, run_vectors, lanes, 1, out.D + channel);
      write_sums(sums.delta_bias, runs, run_vectors, lanes, 1, out.delta_bias + channel);
    });
    if (parts == 1) continue;
    constexpr int chunk = 256;
    const int64_t chunks = (scan.length + chunk - 1) / chunk;
    parallel_for(scan.batch * scan.groups * chunks, threads, [&](int64_t item) {
      const int64_t t0 = item % chunks * chunk, group = item / chunks % scan.groups, batch = item / chunks / scan.groups;
      const int steps = at_most(chunk, scan.length - t0);
      const Sequence s{scan, scan.stream[i], batch, group};
      for (int which = 0; which < 2; which++)
        for (int64_t n = 0; n < states; n += W) {
          Vec total[chunk], term[chunk];
          s.states(partial_of(0, which), n).read(t0, steps, total);
          for (int64_t part = 1; part < parts; part++) {
            s.states(partial_of(part, which), n).read(t0, steps, term);
            for (int t = 0; t < steps; t++) total[t] += term[t];
          }
          s.states(which ? out.C : out.B, n).write(t0, steps, total);
        }
    });
  }
}

}  // namespace

// Blocks of W channels in memory, turned into one vector per step and back.
#pragma once
#include "memory.h"

namespace {

// One block of rows, or all states of a group, along time: stride 1 over either lanes (rows) or time. T: as stored.
template <class T>
struct Panel {
  T* data;
  int64_t lane, time;
  int lanes;

  // `count` steps from t, as one vector over lanes per step; out has room for a multiple of W.
  void read(int64_t t, int count, Vec* out) const {
    if (lane == 1) {
      const T* p = data + t * time;
      for (int i = 0; i < count; i++, p += time) out[i] = load_lanes(p, lanes);
      return;
    }
    for (int i = 0; i < count; i += W) read_tile(t + i, at_most(W, count - i), out + i);
  }

  void write(int64_t t, int count, const Vec* in, bool add = false) const {
    if (lane == 1) {
      T* p = data + t * time;
      for (int i = 0; i < count; i++, p += time) store_lanes(p, add ? in[i] + load_lanes(p, lanes) : in[i], lanes);
      return;
    }
    for (int i = 0; i < count; i += W) write_tile(t + i, at_most(W, count - i), in + i, add);
  }

  // The lines that read() and write() of many steps touch. Rows along time give the last line of each row instead of the
  // first, because half of the first was in use one chunk ago.
  void prefetch_chunk(int64_t t, int steps, Upcoming& ahead) const {
    if (lane == 1)
      ahead.add(data + t * time, time, W * time, steps);
    else
      ahead.add(data + (t + W - 1) * time, lane, W * time, steps);
  }
  // The lines that they touch within `steps`, at most 32, of 32 lanes: two or three per row.
  void prefetch_interval(int64_t t, int steps, Upcoming& ahead) const {
    const bool along = lane == 1;
    const int64_t row = along ? time : lane;
    const bool aligned = along && (uintptr_t)(data + t * time) % 64 == 0 && row % 16 == 0;
    for (int offset : {0, 16, 31})
      if (offset < 31 || !aligned)
        ahead.add(data + t * time + offset * (along ? 1 : time), row, W * row, along ? steps : 32);
  }

 private:
  // Time runs along memory, forwards or (time == -1) backwards.
  const T* tile(int64_t t, int count) const { return time < 0 ? data - t - (count - 1) : data + t; }

  // So few steps move one by one, which is cheaper than transposing a tile.
  static constexpr int few = W / 4;

  void read_tile(int64_t t, int count, Vec* out) const {
    if (count <= few) {
      for (int i = 0; i < count; i++) {
        alignas(sizeof(Vec)) float column[W] = {};
        for (int j = 0; j < lanes; j++) column[j] = data[j * lane + (t + i) * time];
        out[i] = load(column);
      }
      return;
    }
    const T* p = tile(t, count);
    Vec r[W];
    if (lanes == W && count == W) {
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) r[i] = load(p + i * lane);
    } else {
      for (int i = lanes; i < W; i++) r[i] = splat(0);
      for (int i = 0; i < lanes; i++) r[i] = load(p + i * lane, count);
    }
    transpose(r);
    if (time < 0) {
      for (int i = 0; i < count; i++) out[i] = r[count - 1 - i];
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) out[i] = r[i];
    }
  }

  void write_tile(int64_t t, int count, const Vec* in, bool add) const {
    if (count <= few) {
      for (int i = 0; i < count; i++)
        for (int j = 0; j < lanes; j++) {
          T& to = data[j * lane + (t + i) * time];
          to = add ? to + in[i][j] : in[i][j];
        }
      return;
    }
    T* p = (T*)tile(t, count);
    Vec r[W];
    for (int i = 0; i < W; i++) r[i] = time < 0 ? (i < count ? in[count - 1 - i] : splat(0)) : in[i];
    transpose(r);
    if (lanes == W && count == W && !add) {
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) store(p + i * lane, r[i]);
    } else {
      for (int i = 0; i < lanes; i++) store(p + i * lane, add ? r[i] + load(p + i * lane, count) : r[i], count);
    }
  }
};

// The lane sums of `count` vectors, rounded up to a multiple of W; the vectors become zero.
inline void take_lane_sums(Vec* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += W) {
    store(to + i, lane_sums(from + i, 1));
    for (int64_t j = i; j < i + W; j++) from[j] = splat(0);
  }
}

// (lanes, count) floats -> one vector per column, times `factor`; absent lanes are 0.
inline void load_columns(const float* p, int lanes, int64_t count, float factor, Vec* out) {
  Vec tile[W];
  for (int64_t n = 0; n < count; n += W) {
    const int some = at_most(W, count - n);
    Panel<float>{(float*)p + n, count, 1, lanes}.read(0, some, tile);
    for (int i = 0; i < some; i++) out[n + i] = tile[i] * splat(factor);
  }
}

}  // namespace

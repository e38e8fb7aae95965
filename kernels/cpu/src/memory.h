// Scratch memory, and the blocks of W channels that the work is split into.
#pragma once
#include <stdlib.h>
#include <string.h>

#include "simd.h"

namespace {

struct Memory {
  Vec* data;
  int64_t used = 0;
  explicit Memory(int64_t count) : data((Vec*)aligned_alloc(64, (count * sizeof(Vec) + 63) / 64 * 64)) {
    if (!data) abort();
  }
  Memory(const Memory&) = delete;
  ~Memory() { free(data); }
  Vec* take(int64_t count) {
    Vec* p = data + used;
    used += count;
    return p;
  }
  Vec* zeros(int64_t count) {
    Vec* p = take(count);
    for (int64_t i = 0; i < count; i++) p[i] = splat(0);
    return p;
  }
};

// Cache lines of the next block, one for every step of a recurrence. The recurrence prefetches them, so that its arithmetic
// hides their latency. Line t lies t % W rows and t / W columns from the first, or, with `rows`, in row rows[t].
struct Lines {
  const char* first;
  int64_t row, column;  // in bytes
  const int32_t* rows;
  Lines() = default;
  template <class T>  // distances in elements
  Lines(const T* first, int64_t row, int64_t column, const int32_t* rows = nullptr)
      : first((const char*)first), row(row * sizeof(T)), column(column * sizeof(T)), rows(rows) {}
  ALWAYS_INLINE void prefetch(int t) const {
    if (first) __builtin_prefetch(first + (rows ? rows[t] * row : t % W * row + t / W * column));
  }
};

// What to prefetch during one block, handed out piece by piece.
struct Upcoming {
  Lines lines[16];  // as many as there are calls of retreat() with 16 states, times 2
  int count = 0, taken = 0;
  void add(Lines l) { lines[count++] = l; }
  Lines take() { return taken < count ? lines[taken++] : Lines((const char*)nullptr, 0, 0); }
};

inline int64_t vectors(int64_t floats) { return (floats + W - 1) / W; }
inline int64_t at_most(int64_t limit, int64_t x) { return x < limit ? x : limit; }
// Stores that bypass the caches, for values that nothing reads soon.
inline void stream_out(Vec* to, const Vec* from, int64_t count) {
  for (int64_t i = 0; i < count; i++) stream((float*)(to + i), from[i]);
}

inline int64_t padded(int64_t channels) { return (channels + 15) / 16 * 16; }
inline int64_t blocks_of(int64_t channels) { return (channels + W - 1) / W; }
// Number of blocks before a part. It is even, because the backward pass takes blocks in pairs.
inline int64_t blocks_before(int64_t part, int64_t parts, int64_t blocks) {
  return at_most(blocks, (blocks + 1) / 2 * part / parts * 2);
}
inline int lanes_of(int64_t channels, int64_t block) {
  int64_t left = channels - block * W;
  return left < W ? left : W;
}

// Write (lanes) and (lanes, count) sums to memory, each added up over `terms` copies that lie `distance` vectors apart.
void write_sums(const Vec* sums, int64_t terms, int64_t distance, int lanes, int64_t count, float* out) {
  for (int64_t n = 0; n < count; n++) {
    Vec total = sums[n];
    for (int64_t i = 1; i < terms; i++) total += sums[i * distance + n];
    for (int i = 0; i < lanes; i++) out[i * count + n] = total[i];
  }
}

}  // namespace

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

inline int64_t at_most(int64_t limit, int64_t x) { return x < limit ? x : limit; }

// What to prefetch during one block. Each step of a recurrence prefetches some lines, so that its arithmetic hides their
// latency. The addresses are found beforehand: in the recurrence itself they would take a tenth of its time.
struct Upcoming {
  static constexpr int most = 3 * 256;  // three for each step of the longest chunk
  const char* lines[most];
  const char **next = lines, **end = lines;
  // Line t lies t % W rows and t / W columns from the first; distances are in elements.
  template <class T>
  void add(const T* first, int64_t row, int64_t column, int count) {
    count = at_most(lines + most - end, count);
    const char** to = end;
    for (int t = 0; t < count; t += W, first += column) {
      const T* line = first;
      for (int i = t; i < count && i < t + W; i++, line += row) *to++ = (const char*)line;
    }
    end = to;
  }
  template <class T>  // line t lies rows[t] rows from the first
  void add(const T* first, int64_t row, const int32_t* rows, int count) {
    count = at_most(lines + most - end, count);
    const uint32_t bytes = row * sizeof(T);  // such products of 32 bits make vectors
    const char** to = end;
    for (int t = 0; t < count; t++) to[t] = (const char*)first + (uint64_t)(uint32_t)rows[t] * bytes;
    end = to + count;
  }
};
// The lines of one sweep, kept in registers.
struct Sweep {
  Upcoming& ahead;
  const char** next = ahead.next;
  const char** const end = ahead.end;
  ALWAYS_INLINE Sweep(Upcoming& ahead) : ahead(ahead) {}
  ALWAYS_INLINE ~Sweep() { ahead.next = next; }
  ALWAYS_INLINE void prefetch() {
    if (next < end) __builtin_prefetch(*next++);
  }
};

inline int64_t vectors(int64_t floats) { return (floats + W - 1) / W; }
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
// Whether a block begins a cache line of its channels, where these lie side by side.
inline bool begins_line(int64_t block) { return block * W % 16 == 0; }
inline int lanes_of(int64_t channels, int64_t block) {
  int64_t left = channels - block * W;
  return left < W ? left : W;
}

// Calls body(i, lanes) for vectors that cover `count` floats; the last two overlap, because masked stores are slow in AVX2.
template <class Body>
ALWAYS_INLINE void in_vectors(int64_t count, const Body& body) {
  if (count < W) return body(0, (int)count);
  for (int64_t i = 0; i + W <= count; i += W) body(i, W);
  if (count % W) body(count - W, W);
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

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

inline int64_t vectors(int64_t floats) { return (floats + W - 1) / W; }
inline int64_t at_most(int64_t limit, int64_t x) { return x < limit ? x : limit; }
inline void copy(Vec* to, const Vec* from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

// (lanes, count) floats -> one vector per column, times `factor`; absent lanes are 0.
inline void gather_columns(const float* p, int lanes, int64_t count, float factor, Vec* out) {
  for (int64_t n = 0; n < count; n++) {
    Vec v = splat(0);
    for (int i = 0; i < lanes; i++) v[i] = p[i * count + n] * factor;
    out[n] = v;
  }
}

inline int64_t padded(int64_t channels) { return (channels + 15) / 16 * 16; }
inline int64_t blocks_of(int64_t channels) { return (channels + W - 1) / W; }
// Blocks in front of a part: an even number, as they go backwards in pairs.
inline int64_t blocks_before(int64_t part, int64_t parts, int64_t blocks) {
  return at_most(blocks, (blocks + 1) / 2 * part / parts * 2);
}
inline int lanes_of(int64_t channels, int64_t block) {
  int64_t left = channels - block * W;
  return left < W ? left : W;
}

// (lanes) and (lanes, count) sums -> memory, added up over `terms` copies that lie `distance` vectors apart.
void write_sums(const Vec* sums, int64_t terms, int64_t distance, int lanes, int64_t count, float* out) {
  for (int64_t n = 0; n < count; n++) {
    Vec total = sums[n];
    for (int64_t i = 1; i < terms; i++) total += sums[i * distance + n];
    for (int i = 0; i < lanes; i++) out[i * count + n] = total[i];
  }
}

}  // namespace

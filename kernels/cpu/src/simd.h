// Vectors of W floats: one type per instruction set, everything else in this directory is written in terms of it.
// Arithmetic, comparisons and casts are the compiler's vector extensions; this file adds only what they lack.
#pragma once
#include <math.h>
#include <stdint.h>
#include <utility>
#if defined(__x86_64__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC's own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif
#if defined(__ARM_FEATURE_FMA)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t IVec __attribute__((vector_size(4 * W)));
typedef float UnalignedVec __attribute__((vector_size(4 * W), aligned(4), may_alias));

#define ALWAYS_INLINE inline __attribute__((always_inline))

ALWAYS_INLINE Vec load(const float* p) { return *(const UnalignedVec*)p; }
ALWAYS_INLINE void store(float* p, Vec v) { *(UnalignedVec*)p = v; }

// max and min return b if either is NaN.
#if defined(__AVX512F__)

ALWAYS_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
ALWAYS_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
ALWAYS_INLINE Vec root(Vec v) { return _mm512_sqrt_ps(v); }
ALWAYS_INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
ALWAYS_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }
ALWAYS_INLINE Vec load(const float* p, int n) { return _mm512_maskz_loadu_ps((1u << n) - 1, p); }
ALWAYS_INLINE void store(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, (1u << n) - 1, v); }
ALWAYS_INLINE void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }

#elif defined(__AVX2__)

ALWAYS_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
ALWAYS_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
ALWAYS_INLINE Vec root(Vec v) { return _mm256_sqrt_ps(v); }
ALWAYS_INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
ALWAYS_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE Vec fms(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }
ALWAYS_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ALWAYS_INLINE Vec load(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
ALWAYS_INLINE void store(float* p, Vec v, int n) { _mm256_maskstore_ps(p, first(n), v); }
ALWAYS_INLINE void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }

#else

ALWAYS_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
ALWAYS_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
ALWAYS_INLINE Vec root(Vec v) { return Vec{sqrtf(v[0]), sqrtf(v[1]), sqrtf(v[2]), sqrtf(v[3])}; }
ALWAYS_INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
#if defined(__ARM_FEATURE_FMA)
ALWAYS_INLINE Vec fma(Vec a, Vec b, Vec c) { return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
ALWAYS_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
#endif
ALWAYS_INLINE Vec fms(Vec a, Vec b, Vec c) { return fma(a, b, -c); }
ALWAYS_INLINE Vec load(const float* p, int n) {
  Vec v = {};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return v;
}
ALWAYS_INLINE void store(float* p, Vec v, int n) {
  for (int i = 0; i < n; i++) p[i] = v[i];
}
ALWAYS_INLINE void stream(float* p, Vec v) { store(p, v); }

#endif

// bfloat16 in memory: the upper half of a float. A load widens it; a store rounds to nearest, ties to even, and keeps NaN.
typedef uint32_t UVec __attribute__((vector_size(4 * W)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * W)));
typedef uint16_t UnalignedHalfVec __attribute__((vector_size(2 * W), aligned(2), may_alias));

ALWAYS_INLINE Vec widen(HalfVec v) { return (Vec)(__builtin_convertvector(v, UVec) << 16); }
ALWAYS_INLINE HalfVec narrow(Vec v) {
  const UVec bits = (UVec)v, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return __builtin_convertvector(v == v ? rounded : UVec{} + 0x7fc0, HalfVec);
}

struct Bfloat16 {
  uint16_t bits;
  operator float() const { return __builtin_bit_cast(float, (uint32_t)bits << 16); }
  void operator=(float x) { bits = narrow(splat(x))[0]; }
};

ALWAYS_INLINE Vec load(const Bfloat16* p) { return widen(*(const UnalignedHalfVec*)p); }
ALWAYS_INLINE void store(Bfloat16* p, Vec v) { *(UnalignedHalfVec*)p = narrow(v); }
ALWAYS_INLINE Vec load(const Bfloat16* p, int n) {
  HalfVec v = {};
  for (int i = 0; i < n; i++) v[i] = p[i].bits;
  return widen(v);
}
ALWAYS_INLINE void store(Bfloat16* p, Vec v, int n) {
  const HalfVec half = narrow(v);
  for (int i = 0; i < n; i++) p[i].bits = half[i];
}

// All lanes are the usual case, and masks are slow without AVX-512.
template <class T>
ALWAYS_INLINE Vec load_lanes(const T* p, int n) { return n == W ? load(p) : load(p, n); }
template <class T>
ALWAYS_INLINE void store_lanes(T* p, Vec v, int n) { n == W ? store(p, v) : store(p, v, n); }

// A constant that the compiler keeps in a register instead of reading it from memory at every use.
ALWAYS_INLINE Vec in_register(float x) {
  Vec v = splat(x);
#if defined(__x86_64__)
  asm("" : "+v"(v));
#endif
  return v;
}

// Makes the compiler compute v here, among its neighbours, where several are computed side by side (U > 1).
template <int U>
ALWAYS_INLINE Vec keep_order(Vec v) {
#if defined(__x86_64__)
  if (U > 1) asm("" : "+v"(v));
#endif
  return v;
}

using Lanes = std::make_integer_sequence<int, W>;

// Butterfly steps at distance S: of two vectors, the lanes that stay where they are, and those that move by S.
template <int S, int... I>
ALWAYS_INLINE Vec staying(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I & S ? W + I : I)...);
}
template <int S, int... I>
ALWAYS_INLINE Vec moved(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I & S ? W + I - S : I + S)...);
}

// r[i][j] <-> r[j][i]
template <int S = W / 2>
ALWAYS_INLINE void transpose(Vec* r) {
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) {
    if (i & S) continue;
    Vec moving = moved<S>(r[i], r[i + S], Lanes{});
    r[i] = staying<S>(r[i], moving, Lanes{});
    r[i + S] = staying<S>(moving, r[i + S], Lanes{});
  }
  if constexpr (S > 1) transpose<S / 2>(r);
}

// Lane i of the result is the sum over the lanes of p[i * stride].
template <int S = W / 2>
ALWAYS_INLINE Vec lane_sums(const Vec* p, int stride) {
  Vec r[S];
#pragma GCC unroll 16
  for (int i = 0; i < S; i++) {
    Vec a = p[i * stride], b = p[(i + S) * stride];
    r[i] = staying<S>(a, b, Lanes{}) + moved<S>(a, b, Lanes{});
  }
  if constexpr (S > 1) return lane_sums<S / 2>(r, 1);
  return r[0];
}

}  // namespace

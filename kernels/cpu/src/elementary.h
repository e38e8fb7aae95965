// exp, softplus and its derivative. Bounds are tested over the whole range in tests/kernels/test_cpu.py.
#pragma once
#include <math.h>

#include "simd.h"

namespace {

// exp(x) for z = x * Exp::scale, as T[k mod 2^bits] * 2^(k >> bits) * p(r), with k = z in steps of 2^-bits octaves,
// rounded, and r the rest. The table T sits in registers, as many entries as one permute can reach, and p is monic (its
// leading coefficient is in T), which saves a product: products limit the speed of the scan.
// Coefficients: least maximum relative error under p(0) T[0] = 1, so that exp(0) is exactly 1: a bias there would
// accumulate over thousands of steps with small delta. Relative error: 2.5e-7, plus 8e-8 |x| of rounding z.
struct ExpParameters {
#if defined(__AVX512F__)
  static constexpr int bits = 5, degree = 2, octaves_per_unit = 2;
  static constexpr float coefficients[degree] = {1.04069579f, 1.44273186f};
#elif defined(__AVX2__)
  static constexpr int bits = 3, degree = 3, octaves_per_unit = 2;
  static constexpr float coefficients[degree] = {2.25200462f, 3.12194157f, 2.16424513f};
#else
  static constexpr int bits = 0, degree = 6, octaves_per_unit = 4;
  static constexpr float coefficients[degree] = {1.59012842f, 4.40877247f, 6.11185503f, 5.64847469f,
                                                    3.91540504f, 2.18172741f};
#endif
  static constexpr float scale = 1.44269504088896340736 / octaves_per_unit;
  static constexpr float lowest = -124.0f / octaves_per_unit, highest = 126.0f / octaves_per_unit;  // of z

  static constexpr int entries = bits == 5 ? 32 : W;
};

struct ExpTable {
  alignas(64) uint32_t entry[ExpParameters::entries];
  constexpr ExpTable() : entry() {
    constexpr int bits = ExpParameters::bits;
    double power = 1;
    for (int i = 0; i < ExpParameters::entries; i++) {
      const int step = i % (1 << bits);
      power = step == 0 ? 1 : power * (bits == 5 ? 1.0218971486541166782 : 1.0905077326652576592);  // 2^(1/32), 2^(1/8)
      // The subtraction cancels the step's own bits when all of k is added to the exponent.
      entry[i] = __builtin_bit_cast(uint32_t, float(power / ExpParameters::coefficients[0])) -
                 ((uint32_t)step << (23 - bits));
    }
  }
};

#define EACH _Pragma("GCC unroll 16") for (int i = 0; i < U; i++)  // of U vectors side by side
struct Exp : ExpParameters {
  static constexpr ExpTable tabulated = {};
  Vec table[entries / W], coefficient[degree], round;

  ALWAYS_INLINE Exp() {
    for (int i = 0; i < entries / W; i++) table[i] = load((const float*)tabulated.entry + i * W);
    for (int i = 0; i < degree; i++) coefficient[i] = splat(coefficients[i]);
    round = splat(12582912.0f / ((1 << bits) * octaves_per_unit));  // 1.5 * 2^23 units in the last place
  }

  ALWAYS_INLINE Vec lookup(Vec k) const {
#if defined(__AVX512F__)
    return _mm512_permutex2var_ps(table[0], (__m512i)k, table[1]);
#elif defined(__AVX2__)
    return _mm256_permutevar8x32_ps(table[0], (__m256i)k);
#else
    (void)k;
    return table[0];
#endif
  }

  // exp of U vectors in place. Needs lowest <= z <= highest. With clamp, z is arbitrary: exp then ends at 2^-124,
  // overflows to infinity where float32 does, and keeps NaN.
  template <bool clamp, int U>
  ALWAYS_INLINE void apply(Vec* z) const {
    Vec k[U], factor[U];
    if (clamp) EACH {  // compute z above `highest` two octaves lower, then multiply by 4
      constexpr float octave = 1.0f / octaves_per_unit;
      const Vec bounded = min(splat(highest + 3 * octave), max(splat(lowest), z[i]));
      factor[i] = bounded > splat(highest) ? splat(4) : splat(1);
      z[i] = bounded > splat(highest) ? bounded - splat(2 * octave) : bounded;
    }
    EACH k[i] = keep_order<U>(z[i] + round);
    EACH z[i] = keep_order<U>(z[i] - (k[i] - round));
    powers<U>(k, z);
    if (clamp) EACH z[i] *= factor[i];
  }
  template <bool clamp>
  ALWAYS_INLINE Vec of(Vec z) const {
    apply<clamp, 1>(&z);
    return z;
  }
  // z[i] = exp(delta A[i]), without rounding the product if its range allows.
  template <bool clamp, int U>
  ALWAYS_INLINE void decays(Vec delta, const Vec* A, Vec* z) const {
    if (clamp) {
      EACH z[i] = delta * A[i];
      return apply<clamp, U>(z);
    }
    Vec k[U];
    EACH k[i] = keep_order<U>(fma(delta, A[i], round));
    EACH z[i] = keep_order<U>(k[i] - round);
    EACH z[i] = keep_order<U>(fms(delta, A[i], z[i]));
    powers<U>(k, z);
  }

 private:
  // z[i] = 2^(k[i], in steps of 2^-bits octaves) * p(z[i]).
  // A chain of ten instructions takes fifty cycles, and a core looks at some dozens of instructions at once. So the
  // chains run side by side, a stage of all of them after the other; `keep_order` stops the compiler from undoing that.
  template <int U>
  ALWAYS_INLINE void powers(Vec* k, Vec* z) const {
    Vec p[U];
    EACH k[i] = keep_order<U>((Vec)((IVec)lookup(k[i]) + ((IVec)k[i] << (23 - bits))));
    EACH p[i] = keep_order<U>(z[i] + coefficient[degree - 1]);
#pragma GCC unroll 8
    for (int d = degree - 2; d >= 0; d--) EACH p[i] = keep_order<U>(fma(p[i], z[i], coefficient[d]));
    EACH z[i] = k[i] * p[i];
  }
};
#undef EACH

// softplus(x) = max(x, 0) + log(1 + w) with w = exp(-|x|), and its derivative, the sigmoid 1 or w over 1 + w.
// log(1 + w) / w is a polynomial on [0, 1]; relative error of softplus below 4e-7 + 1.3e-7 |x|
// for |x| < 85.
struct Softplus {
  static constexpr float coefficients[9] = {0.99999996988f, -0.49999493140f, 0.33319096805f, -0.24842982197f,
      0.19106006697f, -0.13663245660f, 0.07822595029f, -0.02950523780f, 0.00523269402f};
  Exp exp;
  Vec coefficient[9], lowest = in_register(Exp::lowest), minus_scale = in_register(-Exp::scale);

  ALWAYS_INLINE Softplus() {
    for (int i = 0; i < 9; i++) coefficient[i] = in_register(coefficients[i]);
  }
  // w of U vectors, side by side.
  template <int U>
  ALWAYS_INLINE void w(const Vec* x, Vec* out) const {
#pragma GCC unroll 4
    for (int i = 0; i < U; i++) out[i] = max(lowest, (Vec)((IVec)x[i] & 0x7fffffff) * minus_scale);
    exp.apply<false, U>(out);
  }
  ALWAYS_INLINE Vec w(Vec x) const {
    Vec out;
    w<1>(&x, &out);
    return out;
  }
  ALWAYS_INLINE Vec of(Vec x, Vec w) const {
    const Vec* c = coefficient;
    Vec w2 = w * w, w4 = w2 * w2;
    Vec low = fma(fma(c[3], w, c[2]), w2, fma(c[1], w, c[0]));
    Vec high = fma(fma(c[7], w, c[6]), w2, fma(c[5], w, c[4]));
    return fma(fma(fma(c[8], w4, high), w4, low), w, max(x, splat(0)));
  }
  ALWAYS_INLINE Vec derivative(Vec x, Vec w) const {
    Vec one = splat(1);
    return (x > splat(0) ? one : w) / (one + w);
  }
};

}  // namespace

// How quantized weights lie in device memory, and how they become operands of
// the tensor cores.
//
// A chunk holds 16 rows by 256 columns of a matrix, so that one warp reads its
// quants by 16-byte loads in the order in which it multiplies them: lane 4g + t
// holds, of the rows g and g + 8, the columns 4t..4t+3 and 16+4t..16+4t+3 of each
// block of 32. Chunks of 16 rows follow each other, then come the next 16 rows.
// Quants, high bits and scales are separate arrays within a chunk, each aligned
// to 16 bytes. There are as many bits as in the file:
//
//   format  quants            high bits        scales                      bytes
//   Q4_0    0: 4 x 512                         2048: f16 [g][block][2]      2304
//   Q4_K    0: 4 x 512                         2048: 16 x (d, min, 3 words) 2304
//   Q5_K    0: 4 x 512        2048: 512        2560: 16 x (d, min, 3 words) 2816
//   Q6_K    0: 4 x 512        2048: 2 x 512    3072: u8 16 x 16, f16 16     3360
//   Q8_0    0: 8 x 512                         4096: f16 [g][block][2]      4352
//
// Quants are without sign: the file's, or its signed number plus 128. A byte of
// nibbles has the even block's column low, the odd block's high. Words of a pair
// of blocks (of one block of Q8_0) are the row g's columns 4t.. and 16+4t.., then
// the row g + 8's.
//
// A half whose low bits are a small integer u, and the others zeros, is the
// subnormal u * 2^-24, exactly. So masked bits are operands as they are, a pair of
// columns in a word. The order of columns within a product is free as long as both
// operands share it: of four neighbouring ones the first and third make a pair, then
// the second and fourth, because masking a word of bytes gives those.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

// The operand A of two mma.m16n8k16 (PTX ISA, "Matrix Fragments for
// mma.m16n8k16"), for the first and the last 16 columns of a block: row g, row
// g + 8, row g, row g + 8.
using Fragments = uint32_t[2][4];

// A block's weights are `d * (bits - zero) - m`, for the rows g and g + 8; bits are
// what `quants` gives, `d` of each 16 columns if a format has those.
struct Scales {
    float d[2][2], m[2];
};

__device__ inline uint32_t pack(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}

__device__ inline float2 halves(uint32_t bits) {
    return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}

__device__ inline uint32_t part(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Bits that lie at `from` of each half go to `to`; what else comes is masked.
__device__ inline uint32_t moved(uint32_t word, int from, int to) {
    return from < to ? word << (to - from) : word >> (from - to);
}

// The last bit of a subnormal half.
constexpr float SMALLEST = 1.0f / (1 << 24);

// Each format says:
// - how many 16-byte loads a lane makes of a chunk, from which of its arrays, where from
//   (`offset`, and a lane's `own` in the array), and after which pair of blocks each is
//   used up (`until`);
// - the value of a quant's last bit (`unit`), its `ZERO`, whether there is a `MINIMUM`
//   and how many scales a block of 32 has (`PARTS`);
// - the quants and scales of block 2p + e.

// Nibbles, or more bits where `Format::high` has them.
template <class Format, int BITS, class A>
__device__ inline void nibbles(Fragments& f, const A& a, int p, int e) {
    const uint4 w = a(p);
#pragma unroll
    for (int row = 0; row < 2; row++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int odd = 0; odd < 2; odd++) {
                const uint32_t word = part(w, 2 * row + half) >> 8 * odd;
                uint32_t bits = word & (e ? 0x00F000F0 : 0x000F000F);
                if constexpr (BITS > 4) bits |= Format::high(a, p, e, 2 * row + half, odd);
                f[half][2 * odd + row] = bits;
            }
}

struct Q4_0 {
    static constexpr int BYTES = 2304, LOADS = 6, ZERO = 8, PARTS = 1;
    static constexpr int ARRAYS = 2;
    static constexpr bool MINIMUM = false;
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int until(int i) { return i < 4 ? i : i == 4 ? 1 : 3; }
    static constexpr int array(int i) { return i < 4 ? 0 : 1; }
    static constexpr int offset(int i) { return i < 4 ? i * 512 : 2048 + (i - 4) * 16; }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 32 : lane * 16; }
    template <class A>
    __device__ static void quants(Fragments& f, const A& a, int p, int e) {
        nibbles<Q4_0, 4>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e) {
        const float2 d = halves(part(a(4 + p / 2), p % 2 * 2 + e));
        s.d[0][0] = d.x / unit(e);
        s.d[1][0] = d.y / unit(e);
    }
};

struct Q8_0 {
    static constexpr int BYTES = 4352, LOADS = 10, ZERO = 128, PARTS = 1;
    static constexpr int ARRAYS = 2;
    static constexpr bool MINIMUM = false;
    static constexpr int unit(int) { return 1; }
    static constexpr int until(int i) { return i < 8 ? i / 2 : i == 8 ? 1 : 3; }
    static constexpr int array(int i) { return i < 8 ? 0 : 1; }
    static constexpr int offset(int i) { return i < 8 ? i * 512 : 4096 + (i - 8) * 16; }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 32 : lane * 16; }
    template <class A>
    __device__ static void quants(Fragments& f, const A& a, int p, int e) {
        const uint4 w = a(2 * p + e);
#pragma unroll
        for (int row = 0; row < 2; row++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t word = part(w, 2 * row + half);
                f[half][row] = word & 0x00FF00FF;
                f[half][2 + row] = __byte_perm(word, 0, 0x4341);
            }
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e) {
        const float2 d = halves(part(a(8 + p / 2), p % 2 * 2 + e));
        s.d[0][0] = d.x;
        s.d[1][0] = d.y;
    }
};

// A row's d and min, then its 8 scales and minima of 6 bits in the low and the high
// halves of three words: those of blocks 0 to 5 are whole (0 and 1 in the first
// word, from bits 0 and 6 on, and so on), the last two fill bits 12 to 15: block 6
// the first word's and two of the second's, block 7 the rest.
__device__ inline uint32_t six_bits(const uint4& row, int block) {
    if (block < 6) return part(row, 1 + block / 2) >> 6 * (block % 2) & 0x003F003F;
    return block == 6 ? (row.y >> 12 & 0x000F000F) | (row.z >> 8 & 0x00300030)
                      : (row.z >> 14 & 0x00030003) | (row.w >> 10 & 0x003C003C);
}

// Q4_K and Q5_K. The fifth bits of a word's columns are in one word for all blocks:
// in a half of two columns, that of block 2p and column `odd` at bit i of 2p + odd,
// counted 0 to 3 and 8 to 11, that of block 2p + 1 four further.
template <int HIGH_LOADS>
struct K45 {
    static constexpr int BYTES = 2304 + 512 * HIGH_LOADS, LOADS = 6 + HIGH_LOADS;
    static constexpr int ZERO = 0, PARTS = 1;
    static constexpr int ARRAYS = 2;
    static constexpr bool MINIMUM = true;
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int until(int i) { return i < 4 ? i : 3; }
    static constexpr int QUANTS = 4 + HIGH_LOADS;
    static constexpr int array(int i) { return i < QUANTS ? 0 : 1; }
    static constexpr int offset(int i) {
        return i < QUANTS ? i * 512 : QUANTS * 512 + (i - QUANTS) * 128;
    }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 16 : lane * 16; }
    template <class A>
    __device__ static uint32_t high(const A& a, int p, int e, int word, int odd) {
        const int from = p < 2 ? 2 * p + odd : 4 + 2 * p + odd;
        return moved(part(a(4), word), from, 4) & (e ? 0x01000100 : 0x00100010);
    }
    template <class A>
    __device__ static void quants(Fragments& f, const A& a, int p, int e) {
        nibbles<K45, 4 + HIGH_LOADS>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e) {
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const uint4 words = a(4 + HIGH_LOADS + row);
            const float2 factors = halves(words.x), both = halves(six_bits(words, 2 * p + e));
            s.d[row][0] = factors.x * (1 / SMALLEST / unit(e)) * both.x;
            s.m[row] = factors.y * (1 / SMALLEST) * both.y;
        }
    }
};
using Q4_K = K45<0>;
using Q5_K = K45<1>;

// Two high bits of each quant: in a half of two columns, those of block 4i + 2p and
// column `odd` from bit 0, 2, 8 or 10 on (of 2p + odd), those of block 4i + 2p + 1
// four further. Scales of each 16 columns are bytes, plus 128.
struct Q6_K {
    static constexpr int BYTES = 3360, LOADS = 9, ZERO = 32, PARTS = 2;
    static constexpr int ARRAYS = 3;
    static constexpr bool MINIMUM = false;
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int until(int i) { return i < 4 ? i : i == 4 ? 1 : 3; }
    static constexpr int array(int i) { return i < 6 ? 0 : i < 8 ? 1 : 2; }
    static constexpr int offset(int i) {
        return i < 6 ? i * 512 : i < 8 ? 3072 + (i - 6) * 128 : 3328;
    }
    __device__ static int own(int array, int lane) {
        return array == 0 ? lane * 16 : array == 1 ? lane / 4 * 16 : lane / 16 * 16;
    }
    template <class A>
    __device__ static uint32_t high(const A& a, int p, int e, int word, int odd) {
        const int from = p % 2 * 8 + odd * 2;
        return moved(part(a(4 + p / 2), word), from, 4) & (e ? 0x03000300 : 0x00300030);
    }
    template <class A>
    __device__ static void quants(Fragments& f, const A& a, int p, int e) {
        nibbles<Q6_K, 6>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e) {
        const float2 factors = halves(part(a(8), threadIdx.x % 32 / 4 % 4));
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const float factor = (row ? factors.y : factors.x) / unit(e);
            const uint32_t bytes = __byte_perm(part(a(6 + row), p), 0, e ? 0x4342 : 0x4140);
            const float2 both = halves(bytes);
            s.d[row][0] = fmaf(both.x, factor * (1 / SMALLEST), -128.0f * factor);
            s.d[row][1] = fmaf(both.y, factor * (1 / SMALLEST), -128.0f * factor);
        }
    }
};

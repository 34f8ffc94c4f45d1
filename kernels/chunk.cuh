// How quantized weights lie in device memory, and how they become operands of
// the tensor cores.
//
// A chunk holds 16 rows by 256 columns of a matrix, so that one warp reads its
// quants by 16-byte loads in the order in which mma.m16n8k32 wants its operand A
// (PTX ISA, "Matrix Fragments for mma.m16n8k32"): lane 4g + t holds, of the rows g
// and g + 8, the columns 4t..4t+3 and 16+4t..16+4t+3 of each block of 32. Chunks of
// 16 rows follow each other, then come the next 16 rows. Quants, high bits and scales
// are separate arrays within a chunk, each aligned to 16 bytes. There are as many
// bits as in the file:
//
//   format  quants            high bits        scales                      bytes
//   Q4_0    0: 4 x 512                         2048: f16 [g][block][2]      2304
//   Q4_K    0: 4 x 512                         2048: 16 x (d, min, 3 words) 2304
//   Q5_K    0: 4 x 512        2048: 512        2560: 16 x (d, min, 3 words) 2816
//   Q6_K    0: 4 x 512        2048: 2 x 512    3072: u8 16 x 16, f16 16     3360
//   Q8_0    0: 8 x 512                         4096: f16 [g][block][2]      4352
//
// Quants are without sign: the file's, or its signed number plus 128. A byte of
// nibbles has the even block's column low, the odd block's high. Words of a pair of
// blocks (of one block of Q8_0) are the row g's columns 4t.. and 16+4t.., then the row
// g + 8's. High bits are in the same order, a byte for a column: bit b is block b's,
// or, where there are two, bits 2b and 2b + 1 those of block b of four.
//
// Few columns are multiplied as bytes (mma.m16n8k32), more as halves (mma.m16n8k16,
// "Matrix Fragments for mma.m16n8k16"). A half whose low bits are a small integer u,
// and the others zeros, is the subnormal u * 2^-24, exactly: masked bits are operands
// as they are, a pair of columns in a word. The order of columns within a product is
// free as long as both operands share it: of four neighbouring ones the first and third
// make a pair, then the second and fourth, because masking a word of bytes gives those.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

// A block's weights are `d * (quant - ZERO) - m`, for the rows g and g + 8, `d` of each
// 16 columns if a format has those.
struct Scales {
    float d[2][2], m[2];
};

// The operand A of a product with bytes: rows g, g + 8, g, g + 8, and 16 columns further.
using Bytes = uint32_t[4];

// The operand A of two products with halves, for the first and the last 16 columns of
// a block: row g, row g + 8, row g, row g + 8.
using Halves = uint32_t[2][4];

__device__ inline float2 halves(uint32_t bits) {
    return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}

__device__ inline uint32_t part(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// The words of operand A in the order of `Bytes`.
__device__ inline uint32_t word(const uint4& v, int i) { return part(v, i % 2 * 2 + i / 2); }

// Bits that lie at `from` of each byte go to `to`; what else comes is masked.
__device__ inline uint32_t moved(uint32_t word, int from, int to) {
    return from < to ? word << (to - from) : word >> (from - to);
}

// (a & mask) ^ flipped, in one instruction.
__device__ inline uint32_t masked_and_flipped(uint32_t a, uint32_t mask, uint32_t flipped) {
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(r) : "r"(a), "r"(mask), "r"(flipped));
    return r;
}

// The last bit of a subnormal half.
constexpr float SMALLEST = 1.0f / (1 << 24);

constexpr uint32_t SIGNS = 0x80808080;

// Each format says:
// - how many 16-byte loads a lane makes of a chunk, from which of its arrays, where from
//   (`offset`, and a lane's `own` in the array);
// - its `ZERO`, whether there is a `MINIMUM`, how many scales a block of 32 has (`PARTS`);
// - `bytes` of block 2p + e: quant less ZERO, with a sign, or the quant if there is a
//   minimum, times BYTE_UNIT and `byte_unit(e)`;
// - `halves` of the same block: the quant times `unit(e)`, in the low bits of halves;
// - its scales, divided by a unit.

// Nibbles of halves, or more bits where `Format::high` has them.
template <class Format, int BITS, class A>
__device__ inline void nibbles(Halves& f, const A& a, int p, int e) {
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
    static constexpr int BYTES = 2304, ARRAYS = 2, ZERO = 8, PARTS = 1;
    static constexpr bool MINIMUM = false;
    static constexpr int BYTE_UNIT = 16;
    static constexpr int byte_unit(int) { return 1; }
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int array(int i) { return i < 4 ? 0 : 1; }
    static constexpr int offset(int i) { return i < 4 ? i * 512 : 2048 + (i - 4) * 16; }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 32 : lane * 16; }
    template <class A>
    __device__ static void bytes(Bytes& to, const A& a, int p, int e) {
        const uint4 w = a(p);
#pragma unroll
        for (int i = 0; i < 4; i++)
            to[i] = masked_and_flipped(e ? word(w, i) : word(w, i) << 4, 0xF0F0F0F0, SIGNS);
    }
    template <class A>
    __device__ static void halves(Halves& f, const A& a, int p, int e) {
        nibbles<Q4_0, 4>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e, int unit) {
        const float2 d = ::halves(part(a(4 + p / 2), p % 2 * 2 + e));
        s.d[0][0] = d.x / unit;
        s.d[1][0] = d.y / unit;
    }
};

struct Q8_0 {
    static constexpr int BYTES = 4352, ARRAYS = 2, ZERO = 128, PARTS = 1;
    static constexpr bool MINIMUM = false;
    static constexpr int BYTE_UNIT = 1;
    static constexpr int byte_unit(int) { return 1; }
    static constexpr int unit(int) { return 1; }
    static constexpr int array(int i) { return i < 8 ? 0 : 1; }
    static constexpr int offset(int i) { return i < 8 ? i * 512 : 4096 + (i - 8) * 16; }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 32 : lane * 16; }
    template <class A>
    __device__ static void bytes(Bytes& to, const A& a, int p, int e) {
        const uint4 w = a(2 * p + e);
#pragma unroll
        for (int i = 0; i < 4; i++) to[i] = word(w, i) ^ SIGNS;
    }
    template <class A>
    __device__ static void halves(Halves& f, const A& a, int p, int e) {
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
    __device__ static void scales(Scales& s, const A& a, int p, int e, int unit) {
        const float2 d = ::halves(part(a(8 + p / 2), p % 2 * 2 + e));
        s.d[0][0] = d.x / unit;
        s.d[1][0] = d.y / unit;
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

// Q4_K and Q5_K.
template <int HIGH_LOADS>
struct K45 {
    static constexpr int BYTES = 2304 + 512 * HIGH_LOADS, ARRAYS = 2;
    static constexpr int ZERO = 0, PARTS = 1;
    static constexpr bool MINIMUM = true;
    static constexpr int BYTE_UNIT = 1;
    // The odd block's nibbles stay in a byte's high half where nothing is above them.
    static constexpr int byte_unit(int e) { return e && !HIGH_LOADS ? 16 : 1; }
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int QUANTS = 4 + HIGH_LOADS;
    static constexpr int array(int i) { return i < QUANTS ? 0 : 1; }
    static constexpr int offset(int i) {
        return i < QUANTS ? i * 512 : QUANTS * 512 + (i - QUANTS) * 128;
    }
    __device__ static int own(int array, int lane) { return array ? lane / 4 * 16 : lane * 16; }
    template <class A>
    __device__ static uint32_t high(const A& a, int p, int e, int word, int odd) {
        return moved(part(a(4), word) >> 8 * odd, 2 * p + e, e ? 8 : 4) & (e ? 0x01000100 : 0x00100010);
    }
    template <class A>
    __device__ static void bytes(Bytes& to, const A& a, int p, int e) {
        const uint4 w = a(p);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (HIGH_LOADS) {
                const uint32_t high = moved(word(a(4), i), 2 * p + e, 4) & 0x10101010;
                to[i] = (moved(word(w, i), 4 * e, 0) & 0x0F0F0F0F) | high;
            } else {
                to[i] = word(w, i) & (e ? 0xF0F0F0F0 : 0x0F0F0F0F);
            }
        }
    }
    template <class A>
    __device__ static void halves(Halves& f, const A& a, int p, int e) {
        nibbles<K45, 4 + HIGH_LOADS>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e, int unit) {
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const uint4 words = a(4 + HIGH_LOADS + row);
            const float2 factors = ::halves(words.x), both = ::halves(six_bits(words, 2 * p + e));
            s.d[row][0] = factors.x * (1 / SMALLEST / unit) * both.x;
            s.m[row] = factors.y * (1 / SMALLEST) * both.y;
        }
    }
};
using Q4_K = K45<0>;
using Q5_K = K45<1>;

// Scales of each 16 columns are bytes, plus 128.
struct Q6_K {
    static constexpr int BYTES = 3360, ARRAYS = 3, ZERO = 32, PARTS = 2;
    static constexpr bool MINIMUM = false;
    static constexpr int BYTE_UNIT = 4;
    static constexpr int byte_unit(int) { return 1; }
    static constexpr int unit(int e) { return e ? 16 : 1; }
    static constexpr int array(int i) { return i < 6 ? 0 : i < 8 ? 1 : 2; }
    static constexpr int offset(int i) {
        return i < 6 ? i * 512 : i < 8 ? 3072 + (i - 6) * 128 : 3328;
    }
    __device__ static int own(int array, int lane) {
        return array == 0 ? lane * 16 : array == 1 ? lane / 4 * 16 : lane / 16 * 16;
    }
    template <class A>
    __device__ static uint32_t high(const A& a, int p, int e, int word, int odd) {
        return moved(part(a(4 + p / 2), word) >> 8 * odd, 4 * (p % 2) + 2 * e, e ? 8 : 4) &
               (e ? 0x03000300 : 0x00300030);
    }
    // In a byte's high six bits.
    template <class A>
    __device__ static void bytes(Bytes& to, const A& a, int p, int e) {
        const uint4 w = a(p), high = a(4 + p / 2);
#pragma unroll
        for (int i = 0; i < 4; i++)
            to[i] = ((moved(word(w, i), 4 * e, 2) & 0x3C3C3C3C) |
                     (moved(word(high, i), 4 * (p % 2) + 2 * e, 6) & 0xC0C0C0C0)) ^
                    SIGNS;
    }
    template <class A>
    __device__ static void halves(Halves& f, const A& a, int p, int e) {
        nibbles<Q6_K, 6>(f, a, p, e);
    }
    template <class A>
    __device__ static void scales(Scales& s, const A& a, int p, int e, int unit) {
        const float2 factors = ::halves(part(a(8), threadIdx.x % 32 / 4 % 4));
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const float factor = (row ? factors.y : factors.x) / unit;
            const uint32_t bytes = __byte_perm(part(a(6 + row), p), 0, e ? 0x4342 : 0x4140);
            const float2 both = ::halves(bytes);
            s.d[row][0] = fmaf(both.x, factor * (1 / SMALLEST), -128.0f * factor);
            s.d[row][1] = fmaf(both.y, factor * (1 / SMALLEST), -128.0f * factor);
        }
    }
};

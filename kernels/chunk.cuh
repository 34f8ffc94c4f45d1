// How quantized weights lie in device memory, and how they become operands of
// the tensor cores.
//
// A chunk holds 16 rows by 256 columns of a matrix, so that one warp reads its
// quants by 16-byte loads in the order in which it multiplies them: lane 4g + t
// holds, of the rows g and g + 8, the columns 4t..4t+3 and 16+4t..16+4t+3 of each
// block of 32. Chunks of 16 rows follow each other, then come the next 16 rows.
// Quants, high bits and scales are separate arrays within a chunk, each aligned
// to 16 bytes. The bits are those of the file, no more:
//
//   format  quants            high bits        scales                      bytes
//   Q4_0    0: 4 x 512                         2048: f16 [g][block][2]      2304
//   Q4_K    0: 4 x 512                         2048: 16 x (d, min, 12)      2304
//   Q5_K    0: 4 x 512        2048: 512        2560: 16 x (d, min, 12)      2816
//   Q6_K    0: 4 x 512        2048: 2 x 512    3072: i8 16 x 16, f16 16     3360
//   Q8_0    0: 8 x 512                         4096: f16 [g][block][2]      4352
//
// Weights are multiplied as halves: a quant is exact, quant times scale is rounded
// once. The order of columns within a product is free as long as both operands
// share it: of four neighbouring ones the first and third make a pair, then the
// second and fourth, because masking a word of bytes gives those.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

// The operand A of two mma.m16n8k16 (PTX ISA, "Matrix Fragments for
// mma.m16n8k16"), for the first and the last 16 columns of a block: row g, row
// g + 8, row g, row g + 8.
using Fragments = uint32_t[2][4];

__device__ inline uint32_t multiply_halves(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

__device__ inline uint32_t multiply_add_halves(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

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

// Two halves of this value, which one can hold.
constexpr uint32_t twice(float value) {
    const uint32_t sign = value < 0 ? 0x8000 : 0;
    float size = value < 0 ? -value : value;
    uint32_t exponent = 15;
    for (; size >= 2; size /= 2) exponent++;
    for (; size < 1; size *= 2) exponent--;
    const uint32_t bits = sign | exponent << 10 | static_cast<uint32_t>((size - 1) * 1024);
    return bits << 16 | bits;
}

// The low or high half of a word, twice.
__device__ inline uint32_t twice(uint32_t word, int half) {
    return half ? word >> 16 | (word & 0xFFFF0000) : word << 16 | (word & 0xFFFF);
}

// 0x6400 is the half 1024, whose last bit counts 1: bits or-ed to it are added.
constexpr uint32_t THOUSAND = 0x64006400;

// From halves 1024 + UNIT * u, the integers u - ZERO, exactly.
template <int UNIT, int ZERO>
__device__ inline uint32_t integers(uint32_t bits) {
    return multiply_add_halves(bits, twice(1.0f / UNIT), twice(-(1024.0f / UNIT + ZERO)));
}

// Each format says how many 16-byte loads a lane makes of a chunk, where from,
// and what the fragments of block 2p + e are.

// Nibbles are the value as a two's complement number, the file's xor 8.
struct Q4_0 {
    static constexpr int BYTES = 2304, LOADS = 6;
    __device__ static int offset(int i, int lane) {
        return i < 4 ? i * 512 + lane * 16 : 2048 + (lane >> 2) * 32 + (i - 4) * 16;
    }
    template <class A>
    __device__ static void fragments(Fragments& f, const A& a, int p, int e) {
        const uint4 w = a(p);
        const uint32_t d = part(a(4 + p / 2), p % 2 * 2 + e);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const uint32_t scale = twice(d, row);
#pragma unroll
            for (int odd = 0; odd < 2; odd++) {
                const uint32_t word = part(w, 2 * e + row) >> 8 * odd;
                const uint32_t low = (word & 0x000F000F) ^ (THOUSAND | 0x00080008);
                const uint32_t high = (word & 0x00F000F0) ^ (THOUSAND | 0x00800080);
                f[0][2 * odd + row] = multiply_halves(integers<1, 8>(low), scale);
                f[1][2 * odd + row] = multiply_halves(integers<16, 8>(high), scale);
            }
        }
    }
};

struct Q8_0 {
    static constexpr int BYTES = 4352, LOADS = 10;
    __device__ static int offset(int i, int lane) {
        return i < 8 ? i * 512 + lane * 16 : 4096 + (lane >> 2) * 32 + (i - 8) * 16;
    }
    template <class A>
    __device__ static void fragments(Fragments& f, const A& a, int p, int e) {
        const uint4 w = a(2 * p + e);
        const uint32_t d = part(a(8 + p / 2), p % 2 * 2 + e);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const uint32_t scale = twice(d, row);
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int odd = 0; odd < 2; odd++) {
                    const uint32_t word = part(w, 2 * half + row) >> 8 * odd;
                    const uint32_t byte = (word & 0x00FF00FF) ^ (THOUSAND | 0x00800080);
                    f[half][2 * odd + row] = multiply_halves(integers<1, 128>(byte), scale);
                }
        }
    }
};

// The scale and minimum of one of the K formats' 8 blocks, 6 bits each in 12
// bytes (`get_scale_min_k4` in ggml-quants.c), times the row's two factors.
__device__ inline void scale_and_minimum(const uint4& row, int block, float& d, float& m) {
    const float2 factors = halves(row.x);
    const uint32_t high = block < 4 ? 0 : 0x30;
    const uint32_t shift = 8 * (block % 4);
    const uint32_t s = block < 4 ? row.y >> shift & 0x3F
                                 : (row.w >> shift & 0x0F) | (row.y >> shift >> 2 & high);
    const uint32_t o = block < 4 ? row.z >> shift & 0x3F
                                 : (row.w >> shift >> 4 & 0x0F) | (row.z >> shift >> 2 & high);
    d = factors.x * static_cast<float>(s);
    m = factors.y * static_cast<float>(o);
}

// Words of a pair: the row g's columns 4t.. and 16+4t.., then the row g + 8's;
// low nibbles are the first block's.
template <int HIGH_LOADS>
struct K45 {
    static constexpr int BYTES = 2304 + 512 * HIGH_LOADS, LOADS = 6 + HIGH_LOADS;
    __device__ static int offset(int i, int lane) {
        constexpr int QUANTS = 4 + HIGH_LOADS;
        return i < QUANTS ? i * 512 + lane * 16
                          : QUANTS * 512 + ((lane >> 2) + (i - QUANTS) * 8) * 16;
    }
    template <class A>
    __device__ static void fragments(Fragments& f, const A& a, int p, int e) {
        const uint4 w = a(p), high = HIGH_LOADS ? a(4) : w;
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float d, m;
            scale_and_minimum(a(4 + HIGH_LOADS + row), 2 * p + e, d, m);
            const uint32_t scale = pack(d, d), minimum = pack(-m, -m);
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int odd = 0; odd < 2; odd++) {
                    const uint32_t word = part(w, 2 * row + half) >> 8 * odd;
                    uint32_t bits = THOUSAND | (word & (e ? 0x00F000F0 : 0x000F000F));
                    if (HIGH_LOADS) {
                        // Bit 2p + e of a byte goes above its nibble.
                        const uint32_t fifth = part(high, 2 * row + half) >> 8 * odd;
                        const int up = e ? 7 - 2 * p : 4 - 2 * p;
                        bits |= (up < 0 ? fifth >> -up : fifth << up) & (e ? 0x01000100 : 0x00100010);
                    }
                    const uint32_t quants = e ? integers<16, 0>(bits) : integers<1, 0>(bits);
                    f[half][2 * odd + row] = multiply_add_halves(quants, scale, minimum);
                }
        }
    }
};
using Q4_K = K45<0>;
using Q5_K = K45<1>;

// Six bits as a two's complement number, its low four in `a(p)`, its high two in
// `a(4 + p / 2)`. Each 16 columns have a scale of their own.
struct Q6_K {
    static constexpr int BYTES = 3360, LOADS = 9;
    __device__ static int offset(int i, int lane) {
        const int g = lane >> 2;
        return i < 6 ? i * 512 + lane * 16 : i < 8 ? 3072 + (g + (i - 6) * 8) * 16 : 3328 + g / 4 * 16;
    }
    template <class A>
    __device__ static void fragments(Fragments& f, const A& a, int p, int e) {
        const uint4 w = a(p), h = a(4 + p / 2);
        const uint32_t factors = part(a(8), threadIdx.x % 32 / 4 % 4);
        const int shift = 6 - 2 * (2 * (p % 2) + e);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            const float2 both = halves(factors);
            const uint32_t scales = part(a(6 + row), p) >> 16 * e;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float s = static_cast<float>(static_cast<int8_t>(scales >> 8 * half));
                const float d = (row ? both.y : both.x) * s;
                const uint32_t scale = pack(d, d);
                const uint32_t low = part(w, 2 * row + half), high = part(h, 2 * row + half);
                // Four times the value plus 32, in bytes.
                const uint32_t bytes = (((e ? low >> 2 : low << 2) & 0x3C3C3C3C) |
                                        (high << shift & 0xC0C0C0C0)) ^ 0x80808080;
#pragma unroll
                for (int odd = 0; odd < 2; odd++) {
                    const uint32_t bits = THOUSAND | (bytes >> 8 * odd & 0x00FF00FF);
                    f[half][2 * odd + row] = multiply_halves(integers<4, 32>(bits), scale);
                }
            }
        }
    }
};

// How quantized weights lie in device memory, and their products with
// quantized activations on the tensor cores.
//
// A chunk holds 16 rows by 256 columns of a matrix, so that one warp reads its
// quants by 16-byte loads in the order in which mma.m16n8k32 wants its operand
// A (PTX ISA, "Matrix Fragments for mma.m16n8k32"): lane 4g + t holds, of the
// rows g and g + 8, the columns 4t..4t+3 and 16+4t..16+4t+3 of each block of 32.
// Chunks of 16 rows follow each other, then come the next 16 rows. Quants,
// high bits and scales are separate arrays within a chunk, each aligned to 16
// bytes. The bits are those of the file, no more:
//
//   format  quants            high bits        scales                      bytes
//   Q4_0    0: 4 x 512                         2048: f16 [g][block][2]      2304
//   Q4_K    0: 4 x 512                         2048: 16 x (d, min, 12)      2304
//   Q5_K    0: 4 x 512        2048: 512        2560: 16 x (d, min, 12)      2816
//   Q6_K    0: 4 x 512        2048: 2 x 512    3072: i8 16 x 16, f16 16     3360
//   Q8_0    0: 8 x 512                         4096: f16 [g][block][2]      4352
//
// The integer product of a block is exact. Each element of a result then
// takes the blocks of one warp in their order, one fused multiplication and
// addition each, in one thread, whatever the number of columns: that is why a
// column's bits do not depend on the columns beside it.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

// 1.5 * 2^23: an integer below 2^22 added to its bits is added to its value,
// so accumulators that start there need no conversion to be read as floats.
constexpr int MAGIC = 0x4B400000;
constexpr float MAGIC_VALUE = 12582912.0f;

// One pair of blocks of 8 columns: quants, scales, and scale times sum of quants.
struct Column {
    uint4 q;
    float4 d;
    float4 s;
};

__device__ inline void mma_k32(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                               uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline void mma_k16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
}

__device__ inline uint32_t part(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

__device__ inline float2 halves(uint32_t bits) {
    return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}

// acc += product of scales times the block's integer product. Columns 2t + 1
// are left out where there is one column only.
template <bool ONE>
__device__ inline void take(float (&acc)[4], const int (&c)[4], float row0, float row1, float d0,
                            float d1) {
    const float rows[4] = {row0, row0, row1, row1};
    const float columns[4] = {d0, d1, d0, d1};
#pragma unroll
    for (int i = 0; i < 4; i += ONE ? 2 : 1) {
        const float sum = __fadd_rn(__int_as_float(c[i]), -MAGIC_VALUE);
        acc[i] = __fmaf_rn(__fmul_rn(rows[i], columns[i]), sum, acc[i]);
    }
}

// acc -= the minimum of a block's weights times the sum of its activations.
template <bool ONE>
__device__ inline void take_minimum(float (&acc)[4], float row0, float row1, float s0, float s1) {
    acc[0] = __fmaf_rn(-row0, s0, acc[0]);
    acc[2] = __fmaf_rn(-row1, s0, acc[2]);
    if (!ONE) {
        acc[1] = __fmaf_rn(-row0, s1, acc[1]);
        acc[3] = __fmaf_rn(-row1, s1, acc[3]);
    }
}

// Each format says how many 16-byte loads a lane makes of a chunk, where from,
// and what a pair of blocks (2p, 2p + 1) adds to the accumulators.

// Nibbles are the value as a two's complement number (the file's xor 8): in a
// byte's high half that is 16 times the value, so nothing is subtracted.
struct Q4_0 {
    static constexpr int BYTES = 2304, LOADS = 6;
    static constexpr bool SUMS = false;
    static constexpr float SCALE = 0.0625f;
    __device__ static int offset(int i, int lane) {
        return i < 4 ? i * 512 + lane * 16 : 2048 + (lane >> 2) * 32 + (i - 4) * 16;
    }
    template <bool ONE, class A>
    __device__ static void pair(float (&acc)[4], const A& a, int p, const Column& x) {
        constexpr uint32_t HIGH = 0xF0F0F0F0;
        const uint4 w = a(p), s = a(4 + p / 2);
        const float2 d0 = halves(part(s, p % 2 * 2)), d1 = halves(part(s, p % 2 * 2 + 1));
        int c[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
        mma_k32(c, w.x << 4 & HIGH, w.y << 4 & HIGH, w.x & HIGH, w.y & HIGH, x.q.x, x.q.y);
        take<ONE>(acc, c, d0.x, d0.y, x.d.x, x.d.y);
        int e[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
        mma_k32(e, w.z << 4 & HIGH, w.w << 4 & HIGH, w.z & HIGH, w.w & HIGH, x.q.z, x.q.w);
        take<ONE>(acc, e, d1.x, d1.y, x.d.z, x.d.w);
    }
};

struct Q8_0 {
    static constexpr int BYTES = 4352, LOADS = 10;
    static constexpr bool SUMS = false;
    static constexpr float SCALE = 1.0f;
    __device__ static int offset(int i, int lane) {
        return i < 8 ? i * 512 + lane * 16 : 4096 + (lane >> 2) * 32 + (i - 8) * 16;
    }
    template <bool ONE, class A>
    __device__ static void pair(float (&acc)[4], const A& a, int p, const Column& x) {
        const uint4 v = a(2 * p), w = a(2 * p + 1), s = a(8 + p / 2);
        const float2 d0 = halves(part(s, p % 2 * 2)), d1 = halves(part(s, p % 2 * 2 + 1));
        int c[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
        mma_k32(c, v.x, v.y, v.z, v.w, x.q.x, x.q.y);
        take<ONE>(acc, c, d0.x, d0.y, x.d.x, x.d.y);
        int e[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
        mma_k32(e, w.x, w.y, w.z, w.w, x.q.z, x.q.w);
        take<ONE>(acc, e, d1.x, d1.y, x.d.z, x.d.w);
    }
};

// The scales and minima of the K formats' 8 blocks, 6 bits each in 12 bytes
// (`get_scale_min_k4` in ggml-quants.c), times the row's two factors.
__device__ inline void scale_and_minimum(const uint4& row, int block, float& d, float& m) {
    const float2 factors = halves(row.x);
    const uint32_t high = block < 4 ? 0 : 0x30;
    const uint32_t shift = 8 * (block % 4);
    const uint32_t s = block < 4 ? row.y >> shift & 0x3F
                                 : (row.w >> shift & 0x0F) | (row.y >> shift >> 2 & high);
    const uint32_t o = block < 4 ? row.z >> shift & 0x3F
                                 : (row.w >> shift >> 4 & 0x0F) | (row.z >> shift >> 2 & high);
    d = __fmul_rn(factors.x, static_cast<float>(s));
    m = __fmul_rn(factors.y, static_cast<float>(o));
}

// Words of a pair: the row g's columns 4t.. and 16+4t.., then the row g + 8's;
// low nibbles are the first block's.
template <int HIGH_LOADS>
struct K45 {
    static constexpr int BYTES = 2304 + 512 * HIGH_LOADS, LOADS = 6 + HIGH_LOADS;
    static constexpr bool SUMS = true;
    static constexpr float SCALE = 1.0f;
    __device__ static int offset(int i, int lane) {
        constexpr int QUANTS = 4 + HIGH_LOADS;
        return i < QUANTS ? i * 512 + lane * 16
                          : QUANTS * 512 + ((lane >> 2) + (i - QUANTS) * 8) * 16;
    }
    template <class A>
    __device__ static uint32_t quant(const A& a, uint32_t word, int i, int p, int e) {
        uint32_t q = (e ? word >> 4 : word) & 0x0F0F0F0F;
        if (HIGH_LOADS) q |= (part(a(4), i) >> (2 * p + e) & 0x01010101) << 4;
        return q;
    }
    template <bool ONE, class A>
    __device__ static void pair(float (&acc)[4], const A& a, int p, const Column& x) {
        const uint4 w = a(p), row0 = a(4 + HIGH_LOADS), row1 = a(5 + HIGH_LOADS);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float d0, d1, m0, m1;
            scale_and_minimum(row0, 2 * p + e, d0, m0);
            scale_and_minimum(row1, 2 * p + e, d1, m1);
            int c[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
            mma_k32(c, quant(a, w.x, 0, p, e), quant(a, w.z, 2, p, e), quant(a, w.y, 1, p, e),
                    quant(a, w.w, 3, p, e), e ? x.q.z : x.q.x, e ? x.q.w : x.q.y);
            take<ONE>(acc, c, d0, d1, e ? x.d.z : x.d.x, e ? x.d.w : x.d.y);
            take_minimum<ONE>(acc, m0, m1, e ? x.s.z : x.s.x, e ? x.s.w : x.s.y);
        }
    }
};
using Q4_K = K45<0>;
using Q5_K = K45<1>;

// Six bits as a two's complement number, its low four in `a(p)`, its high two
// in `a(4 + p / 2)`; in a byte's high six bits that is 4 times the value. Blocks
// of 16 have scales of their own, so each takes a product over 16 columns.
struct Q6_K {
    static constexpr int BYTES = 3360, LOADS = 9;
    static constexpr bool SUMS = false;
    static constexpr float SCALE = 0.25f;
    __device__ static int offset(int i, int lane) {
        const int g = lane >> 2;
        return i < 6 ? i * 512 + lane * 16 : i < 8 ? 3072 + (g + (i - 6) * 8) * 16 : 3328 + g / 4 * 16;
    }
    __device__ static uint32_t quant(uint32_t low, uint32_t high, int p, int e) {
        const int shift = 6 - 2 * (2 * (p % 2) + e);
        return ((e ? low >> 2 : low << 2) & 0x3C3C3C3C) | (high << shift & 0xC0C0C0C0);
    }
    template <bool ONE, class A>
    __device__ static void pair(float (&acc)[4], const A& a, int p, const Column& x) {
        const uint4 w = a(p), h = a(4 + p / 2), row0 = a(6), row1 = a(7);
        const float2 d = halves(part(a(8), threadIdx.x % 32 / 4 % 4));
        const uint32_t s0 = part(row0, p), s1 = part(row1, p);
#pragma unroll
        for (int e = 0; e < 2; e++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int at = 8 * (2 * e + half);
                const float d0 = __fmul_rn(d.x, static_cast<float>(static_cast<int8_t>(s0 >> at)));
                const float d1 = __fmul_rn(d.y, static_cast<float>(static_cast<int8_t>(s1 >> at)));
                int c[4] = {MAGIC, MAGIC, MAGIC, MAGIC};
                mma_k16(c, quant(half ? w.y : w.x, half ? h.y : h.x, p, e),
                        quant(half ? w.w : w.z, half ? h.w : h.z, p, e),
                        part(x.q, 2 * e + half));
                take<ONE>(acc, c, d0, d1, e ? x.d.z : x.d.x, e ? x.d.w : x.d.y);
            }
        }
    }
};

// Activations as products take them, and what orders kernels among each other.
//
// Products of 1 to 16 columns take integers of up to 11 bits and a sign, with a scale
// for each block of 32: sums of a block are exact, on bytes as on halves, so that it
// does not matter how many columns there are. Records of both kinds end with
// `float d[8]`, scales, and `float s[8]`, those times the sums of the integers.
#pragma once
#include "chunk.cuh"

// FEW: up to 4 columns as bytes, x = 256 high + low. A record is of 4 columns and a pair
// of blocks, `[column / 4][k / 64]`: 32 x 16 bytes in the order of operand B of
// mma.m16n8k32, whose columns 2c and 2c + 1 are the high and the low bytes: lane 4g + t
// has 4t..4t+3 and 16+4t.. of the even block, then of the odd one. Scales are
// `[column][block]`.
//
// SEVERAL: up to 16 columns as halves. A record is of 8 columns and a block,
// `[column / 8][k / 32]`: 32 x 16 bytes in the order of operand B of two mma.m16n8k16:
// lane 4g + t has, of column g, 4t, 4t + 2, 4t + 1, 4t + 3, then 16 further. Scales are
// `[column]`.
//
// MANY: what they are, rounded to halves, in the order of SEVERAL without scales.
enum Form { FEW, SEVERAL, MANY };

constexpr int RECORD = 576, SCALES_AT = 512, SUMS_AT = 544;

// The largest integer of 11 bits.
constexpr float MOST = 2047.0f;

__device__ inline void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline void let_kernel_after_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// The place of `k` among the halves of a block of 8 columns.
__device__ inline int half_place(int column, int k) {
    return (column % 8 * 4 + k % 16 / 4) * 8 + k % 32 / 16 * 4 + k % 2 * 2 + k % 4 / 2;
}

// A scale is the largest of 32 absolute values divided by MOST.
__device__ inline int round_to(float scale, float value) {
    return scale > 0.0f ? __float2int_rn(value / scale) : 0;
}

// Writes a number of a block, and, where `first`, the block's scale and sum.
__device__ inline void store_quant(uint8_t* x, Form form, int chunks, int column, int k, int q,
                                   bool first, float scale, int sum) {
    uint8_t* record;
    int at;
    if (form == FEW) {
        record = x + (static_cast<size_t>(column / 4) * chunks * 4 + k / 64) * RECORD;
        uint8_t* bytes = record + (column % 4 * 8 + k % 16 / 4) * 16 + k % 64 / 32 * 8 +
                         k % 32 / 16 * 4 + k % 4;
        const int low = static_cast<int8_t>(q);
        bytes[0] = static_cast<uint8_t>((q - low) / 256);
        bytes[4 * 16] = static_cast<uint8_t>(low);
        at = column % 4 * 2 + k % 64 / 32;
    } else {
        record = x + (static_cast<size_t>(column / 8) * chunks * 8 + k / 32) * RECORD;
        reinterpret_cast<__half*>(record)[half_place(column, k)] = __int2half_rn(q);
        at = column % 8;
    }
    if (first) {
        reinterpret_cast<float*>(record + SCALES_AT)[at] = scale;
        reinterpret_cast<float*>(record + SUMS_AT)[at] = scale * static_cast<float>(sum);
    }
}

// MANY. What is too large for a half becomes the largest one, not infinity.
__device__ inline void store_half(uint8_t* x, int chunks, int column, int k, float value) {
    const size_t block = static_cast<size_t>(column / 8) * chunks * 8 + k / 32;
    reinterpret_cast<__half*>(x)[block * 256 + half_place(column, k)] =
        __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

// A warp writes a block of a column, the lane's element the `lane`-th.
__device__ inline void store_block(uint8_t* x, Form form, int chunks, int column, int block,
                                   float value) {
    const int lane = threadIdx.x % 32, k = block * 32 + lane;
    if (form == MANY) return store_half(x, chunks, column, k, value);
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float scale = largest / MOST;
    const int q = round_to(scale, value), sum = __reduce_add_sync(~0u, q);
    store_quant(x, form, chunks, column, k, q, lane == 0, scale, sum);
}

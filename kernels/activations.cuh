// Activations as products take them, and what orders kernels among each other.
#pragma once
#include "chunk.cuh"

// NARROW, for up to 16 columns: integers of 16 bits with a scale for each block of 32, as
// two bytes with a sign, x = 256 high + low. A record is of 4 columns and a pair of
// blocks, `[column / 4][k / 64]`. It has 32 x 16 bytes in the order of operand B of
// mma.m16n8k32, whose columns 2c and 2c + 1 are the high and the low bytes of column c:
// lane 4g + t has 4t..4t+3 and 16+4t.. of the even block, then of the odd one. Then come
// `float d[4][2]`, scales of the columns in both blocks, and `float s[4][2]`, those times
// the sums of integers.
//
// WIDE, for more: halves, in the order of operand B of two mma.m16n8k16 for each 8
// columns and 32 elements: lane 4g + t has, of column g, 4t, 4t + 2, 4t + 1, 4t + 3, then
// 16 further.
enum class Form : int { NARROW, WIDE };

constexpr int RECORD = 576, SCALES_AT = 512, SUMS_AT = 544;

// The largest integer whose high byte, rounded so that the low one has a sign, is 127.
constexpr float MOST = 32639.0f;

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

// Writes one of 32 integers, and, where `first`, the block's scale and sum.
__device__ inline void store_narrow(uint8_t* x, int chunks, int column, int k, int q, bool first,
                                    float scale, int sum) {
    uint8_t* record = x + (static_cast<size_t>(column / 4) * chunks * 4 + k / 64) * RECORD;
    uint8_t* bytes = record + (column % 4 * 8 + k % 16 / 4) * 16 + k % 64 / 32 * 8 +
                     k % 32 / 16 * 4 + k % 4;
    const int low = static_cast<int8_t>(q), at = column % 4 * 2 + k % 64 / 32;
    bytes[0] = static_cast<uint8_t>((q - low) / 256);
    bytes[4 * 16] = static_cast<uint8_t>(low);
    if (!first) return;
    reinterpret_cast<float*>(record + SCALES_AT)[at] = scale;
    reinterpret_cast<float*>(record + SUMS_AT)[at] = scale * static_cast<float>(sum);
}

// A block's scale is the largest of its absolute values divided by MOST.
__device__ inline int round_to(float scale, float value) {
    return scale > 0.0f ? __float2int_rn(value / scale) : 0;
}

// What is too large for a half becomes the largest one, not infinity.
__device__ inline void store_wide(uint8_t* x, int chunks, int column, int k, float value) {
    const size_t block = static_cast<size_t>(column / 8) * chunks * 8 + k / 32;
    const int at = (column % 8 * 4 + k % 16 / 4) * 8 + k % 32 / 16 * 4 + k % 2 * 2 + k % 4 / 2;
    reinterpret_cast<__half*>(x)[block * 256 + at] =
        __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

// A warp writes a block of a column, the lane's element the `lane`-th.
__device__ inline void store_block(uint8_t* x, Form form, int chunks, int column, int block,
                                   float value) {
    const int lane = threadIdx.x % 32, k = block * 32 + lane;
    if (form == Form::WIDE) return store_wide(x, chunks, column, k, value);
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float scale = largest / MOST;
    const int q = round_to(scale, value), sum = __reduce_add_sync(~0u, q);
    store_narrow(x, chunks, column, k, q, lane == 0, scale, sum);
}

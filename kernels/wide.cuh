// Products of a quantized matrix with many columns, 128 for each block.
//
// Four warps have 32 rows each and all 128 columns: a warp's weights become operands
// in its own registers, and each is used for 128 columns. Chunks of
// weights (two for each tile of rows) and blocks of 32 of the activations (three) are
// copied to shared memory while the ones before are multiplied.
#pragma once
#include "attention.cuh"

constexpr int WIDE = 128, WIDE_WARPS = 4, WIDE_STAGES = 3;
// 16-byte words of a block of activations for 128 columns.
constexpr int STAGE = WIDE / 8 * 32;

template <class F>
constexpr int wide_bytes() {
    return WIDE_STAGES * STAGE * 16 + 2 * WIDE_WARPS * 2 * F::BYTES;
}

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

__device__ inline uint32_t twice(float value) { return pack(value, value); }

// Weights of the block 2p + e in f16. Or-ed to the half 1024, whose last bit counts 1,
// bits are added to it; a fused multiplication and addition leaves quant less zero,
// exactly, and then the scale rounds once.
template <class F, class A>
__device__ inline void fragments(Halves& f, const A& a, int p, int e) {
    Scales s;
    F::halves(f, a, p, e);
    F::scales(s, a, p, e, F::unit(e));
    const uint32_t unit = twice(1.0f / F::unit(e)), zero = twice(-1024.0f / F::unit(e) - F::ZERO);
#pragma unroll
    for (int row = 0; row < 2; row++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint32_t scale = twice(s.d[row][half % F::PARTS] * F::unit(e));
#pragma unroll
            for (int odd = 0; odd < 2; odd++) {
                uint32_t& bits = f[half][2 * odd + row];
                bits = multiply_add_halves(bits | 0x64006400, unit, zero);
                bits = F::MINIMUM ? multiply_add_halves(bits, scale, twice(-s.m[row]))
                                  : multiply_halves(bits, scale);
            }
        }
}

// Grid (columns / 128, rows / 128). Calls `finish(tile, acc)` in the warps that have
// rows: `acc[m][n][i]` is of row 16 (tile + m) + g + i / 2 * 8 and of the block's
// column 8 n + 2t + i % 2.
template <class F, class Prepare, class Finish>
__device__ inline void wide(const uint8_t* weights, const uint8_t* x, int chunks, int rows,
                            Prepare prepare, Finish finish) {
    extern __shared__ __align__(128) uint8_t ring[];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, blocks = chunks * 8;
    const int tile = (static_cast<int>(blockIdx.y) * WIDE_WARPS + warp) * 2;
    const bool works = tile * 16 < rows;
    uint4* stages = reinterpret_cast<uint4*>(ring);
    uint8_t* own = ring + WIDE_STAGES * STAGE * 16 + warp * 4 * F::BYTES;
    const uint4* columns = reinterpret_cast<const uint4*>(x) +
                           static_cast<size_t>(blockIdx.x) * (WIDE / 8) * blocks * 32;
    const auto fetch_columns = [&](int block, int stage) {
        for (int i = threadIdx.x; i < STAGE; i += WIDE_WARPS * 32)
            copy_async(stages + stage * STAGE + i,
                       columns + (static_cast<size_t>(i / 32) * blocks + block) * 32 + i % 32, true);
    };
    const auto fetch_weights = [&](int chunk) {
        if (!works) return;
#pragma unroll
        for (int m = 0; m < 2; m++) {
            const uint8_t* from = weights + (static_cast<size_t>(tile + m) * chunks + chunk) * F::BYTES;
            for (int i = lane * 16; i < F::BYTES; i += 512)
                copy_async(own + (chunk % 2 * 2 + m) * F::BYTES + i, from + i, true);
        }
    };
    fetch_weights(0);
    wait_for_kernel_before();
    let_kernel_after_start();
    fetch_columns(0, 0);
    end_of_copies();
    fetch_columns(1, 1);
    end_of_copies();
    float acc[2][WIDE / 8][4] = {};
    int now = 0, next = 2;
    for (int chunk = 0; chunk < chunks; chunk++) {
        Shared<F> a[2];
#pragma unroll
        for (int m = 0; m < 2; m++) a[m].chunk = own + (chunk % 2 * 2 + m) * F::BYTES;
#pragma unroll
        for (int b = 0; b < 8; b++) {
            // This block's copies are there for all, and nobody reads the last one's.
            wait_for_copies<1>();
            __syncthreads();
            if (b == 0 && chunk + 1 < chunks) fetch_weights(chunk + 1);
            if (chunk * 8 + b + 2 < blocks) fetch_columns(chunk * 8 + b + 2, next);
            end_of_copies();
            if (works) {
                Halves f[2];
#pragma unroll
                for (int m = 0; m < 2; m++) fragments<F>(f[m], a[m], b / 2, b % 2);
#pragma unroll
                for (int n = 0; n < WIDE / 8; n++) {
                    const uint4 v = stages[now * STAGE + n * 32 + lane];
                    mma(acc[0][n], f[0][0], v.x, v.y);
                    mma(acc[1][n], f[1][0], v.x, v.y);
                    mma(acc[0][n], f[0][1], v.z, v.w);
                    mma(acc[1][n], f[1][1], v.z, v.w);
                }
            }
            now = now == WIDE_STAGES - 1 ? 0 : now + 1;
            next = next == WIDE_STAGES - 1 ? 0 : next + 1;
        }
    }
    prepare();
    __syncthreads();
    if (works) finish(tile, acc);
}

// Products of a quantized matrix with up to 4 columns.
//
// Each column is two of the tensor cores' eight, its high and its low bytes, so that
// one product of integers does a block of 32. A warp copies its weights to shared memory
// R chunks ahead; activations are small enough to come from the caches.
#pragma once
#include "matmul.cuh"

// c = a * b for 16 rows, 8 columns and 32 terms; a has a sign or not, b has one.
template <bool SIGNED>
__device__ inline void multiply_bytes(int (&c)[4], const Bytes& a, uint32_t b0, uint32_t b1) {
    if constexpr (SIGNED)
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%10,%10,%10,%10};"
            : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
    else
        asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%10,%10,%10,%10};"
            : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
}

// 16 terms, with signs.
__device__ inline void multiply_bytes(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%7,%7,%7,%7};"
        : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
        : "r"(a0), "r"(a1), "r"(b0), "r"(0));
}

// What a lane needs of a record: operand B, scales and sums of column t.
template <class F>
struct Pair {
    uint4 q;
    float2 d, s;
    __device__ void load(const uint8_t* quants, const uint8_t* scales) {
        q = *reinterpret_cast<const uint4*>(quants);
        d = *reinterpret_cast<const float2*>(scales);
        if (F::MINIMUM) s = *reinterpret_cast<const float2*>(scales + SUMS_AT - SCALES_AT);
    }
};

// Adds the products of the block 2p + e: of rows g and g + 8, column t.
template <class F>
__device__ inline void multiply(float (&acc)[2], const Shared<F>& a, const Pair<F>& x, int p, int e) {
    Bytes w;
    Scales s;
    F::bytes(w, a, p, e);
    F::scales(s, a, p, e, F::byte_unit(e));
    const uint32_t b[2] = {e ? x.q.z : x.q.x, e ? x.q.w : x.q.y};
    int c[F::PARTS][4];
    if constexpr (F::PARTS == 1) {
        multiply_bytes<!F::MINIMUM>(c[0], w, b[0], b[1]);
    } else {
        multiply_bytes(c[0], w[0], w[1], b[0]);
        multiply_bytes(c[1], w[2], w[3], b[1]);
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
#pragma unroll
        for (int i = 0; i < F::PARTS; i++) {
            const int whole = c[i][2 * row] * 256 + c[i][2 * row + 1];
            acc[row] = fmaf(s.d[row][i] * (e ? x.d.y : x.d.x), static_cast<float>(whole), acc[row]);
        }
        if (F::MINIMUM) acc[row] = fmaf(-s.m[row], e ? x.s.y : x.s.x, acc[row]);
    }
}

// Bytes of shared memory of a block.
template <class F>
constexpr int few_bytes(int mt, int rw, int w, int r) {
    return rw * w * r * mt * F::BYTES + sums_bytes(2, 1, rw, w);
}

// Lanes of columns that are not there multiply the last one's. `prepare` runs in all
// threads after the products of a set, `finish(set)` after what is emitted of it.
template <class F, int MT, int RW, int W, int R, class Prepare, class Emit, class Finish>
__device__ inline void few(const uint8_t* weights, const uint8_t* x, int chunks, const Share& share,
                           int columns, Prepare prepare, Emit emit, Finish finish) {
    extern __shared__ __align__(128) uint8_t ring[];
    using Ring = Weights<F, MT, RW, W, R>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp % W;
    float* sums = reinterpret_cast<float*>(ring + RW * W * R * Ring::STAGE);
    Ring a(ring + warp * R * Ring::STAGE, weights, chunks, share);
#pragma unroll
    for (int i = 0; i < R; i++) {
        a.fetch(i);
        end_of_copies();
    }
    x += static_cast<size_t>(first) * 4 * RECORD;
    const uint8_t* quants = x + (min(lane / 8, columns - 1) * 8 + lane % 8) * 16;
    const uint8_t* scales = x + SCALES_AT + min(lane % 4, columns - 1) * 8;
    wait_for_kernel_before();
    let_kernel_after_start();
    int stage = 0;
    for (int set = share.begin; set < share.end; set++) {
        float acc[MT][1][2] = {};
        for (int step = 0; step < a.steps; step++) {
            const int at = step * W * 4 * RECORD;
            Pair<F> v[4];
#pragma unroll
            for (int p = 0; p < 4; p++) v[p].load(quants + at + p * RECORD, scales + at + p * RECORD);
            wait_for_copies<R - 1>();
            __syncwarp();
#pragma unroll
            for (int b = 0; b < 8; b++)
#pragma unroll
                for (int m = 0; m < MT; m++) multiply<F>(acc[m][0], a(stage, m), v[b / 2], b / 2, b % 2);
            __syncwarp();
            a.fetch(stage);
            end_of_copies();
            stage = stage == R - 1 ? 0 : stage + 1;
        }
        prepare();
        reduce<2, 1, MT, RW, W>(acc, sums, columns,
                                [&](int tile, int column, int row, float sum, bool valid) {
                                    emit(set * RW * MT + tile, column, row, sum / F::BYTE_UNIT, valid);
                                });
        finish(set);
    }
}

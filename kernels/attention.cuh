// Attention of 1 to 16 new tokens on a cache in f16, the cache split in pieces of
// 64 positions, and putting the pieces together.
//
// Queries that share a key-value head are rows of one product on the tensor
// cores. A row sees positions up to its own, pieces lie at fixed positions and
// are added in their order, so that a row's bits do not depend on the others.
#pragma once
#include "matmul.cuh"

// Tokens in the cache before this pass, and new ones.
struct State {
    int length, columns;
};

constexpr int SPLIT = 64;

__device__ inline void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline uint32_t pack(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}

// 16 bytes into shared memory, or zeros.
__device__ inline void copy_async(void* to, const void* from, bool there) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

// `q (columns, heads, D)`, `k` and `v (kv heads, context, D)`. Writes, for each
// row and piece, the sum of values weighted by e^(score - top), `sums (columns, heads,
// pieces, D)`, and top and the sum of weights, `tops (columns, heads, pieces, 2)`.
struct Attention {
    const __half* q;
    const __half* k;
    const __half* v;
    float* sums;
    float2* tops;
    const State* state;
    int heads, kv_heads, context, pieces;
    float scale;
};

// Grid (pieces, kv heads), 4 warps, each with tiles of 16 rows of its own.
template <int D>
__device__ inline void attend(const Attention& p) {
    constexpr int PAD = D + 8;
    extern __shared__ __align__(128) uint8_t memory[];
    __half(*keys)[PAD] = reinterpret_cast<__half(*)[PAD]>(memory);
    __half(*values)[PAD] = keys + SPLIT;
    const State state = *p.state;
    const int piece = blockIdx.x, kv = blockIdx.y, start = piece * SPLIT;
    const int total = state.length + state.columns;
    if (start >= total) return;
    wait_for_kernel_before();
    let_kernel_after_start();
    for (int i = threadIdx.x; i < SPLIT * D / 8; i += blockDim.x) {
        const int row = i / (D / 8), at = i % (D / 8) * 8;
        const bool there = start + row < total;
        const size_t from = (static_cast<size_t>(kv) * p.context + (there ? start + row : 0)) * D + at;
        copy_async(&keys[row][at], p.k + from, there);
        copy_async(&values[row][at], p.v + from, there);
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int group = p.heads / p.kv_heads, rows = group * state.columns;
    for (int first = warp * 16; first < rows; first += 64) {
        // The lane's two rows: their place in q, and the last position they see.
        size_t place[2];
        int last[2];
        bool is[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = first + g + i * 8;
            is[i] = row < rows;
            const int column = is[i] ? row / group : 0;
            place[i] = static_cast<size_t>(column) * p.heads + kv * group + (is[i] ? row % group : 0);
            last[i] = is[i] ? state.length + column : -1;
        }
        float scores[SPLIT / 8][4] = {};
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            uint32_t a[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = *reinterpret_cast<const uint32_t*>(p.q + place[i % 2] * D + k * 16 + 2 * t + i / 2 * 8);
#pragma unroll
            for (int n = 0; n < SPLIT / 8; n++) {
                const __half* key = &keys[n * 8 + g][k * 16 + 2 * t];
                mma_f16(scores[n], a, *reinterpret_cast<const uint32_t*>(key),
                        *reinterpret_cast<const uint32_t*>(key + 8));
            }
        }
        float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
#pragma unroll
        for (int n = 0; n < SPLIT / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const bool seen = start + n * 8 + 2 * t + i % 2 <= last[i / 2];
                scores[n][i] = seen ? scores[n][i] * p.scale : -INFINITY;
                top[i / 2] = fmaxf(top[i / 2], scores[n][i]);
            }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 2));
        }
#pragma unroll
        for (int n = 0; n < SPLIT / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                // Rows that see nothing of this piece would give -inf - -inf.
                const float weight = scores[n][i] == -INFINITY ? 0.0f : expf(scores[n][i] - top[i / 2]);
                scores[n][i] = weight;
                sum[i / 2] += weight;
            }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
            sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
        }
        float mixed[D / 8][4] = {};
#pragma unroll
        for (int k = 0; k < SPLIT / 16; k++) {
            const uint32_t a[4] = {pack(scores[2 * k][0], scores[2 * k][1]),
                                   pack(scores[2 * k][2], scores[2 * k][3]),
                                   pack(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                   pack(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                uint32_t b0, b1;
                const uint32_t at = static_cast<uint32_t>(
                    __cvta_generic_to_shared(&values[k * 16 + lane % 16][n * 8]));
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                             : "=r"(b0), "=r"(b1)
                             : "r"(at)
                             : "memory");
                mma_f16(mixed[n], a, b0, b1);
            }
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (!is[i]) continue;
            const size_t to = place[i] * p.pieces + piece;
            if (t == 0) p.tops[to] = make_float2(top[i], sum[i]);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *reinterpret_cast<float2*>(p.sums + to * D + n * 8 + 2 * t) =
                    make_float2(mixed[n][2 * i], mixed[n][2 * i + 1]);
        }
    }
}

// The pieces of a row put together and quantized. Grid (heads, columns), D threads.
template <int D>
__device__ inline void join(const Attention& p, const Activations& x, int chunks) {
    const State state = *p.state;
    const int head = blockIdx.x, column = blockIdx.y;
    if (column >= state.columns) return;
    wait_for_kernel_before();
    let_kernel_after_start();
    const int pieces = (state.length + column) / SPLIT + 1;
    const size_t row = (static_cast<size_t>(column) * p.heads + head) * p.pieces;
    float top = -INFINITY;
    for (int i = 0; i < pieces; i++) top = fmaxf(top, p.tops[row + i].x);
    float sum = 0.0f, mixed = 0.0f;
#pragma unroll 4
    for (int i = 0; i < pieces; i++) {
        const float2 of = p.tops[row + i];
        const float factor = expf(of.x - top);
        sum = fmaf(of.y, factor, sum);
        mixed = fmaf(p.sums[(row + i) * D + threadIdx.x], factor, mixed);
    }
    quantize_block(x, chunks, column, (head * D + static_cast<int>(threadIdx.x)) / 32, mixed / sum);
}

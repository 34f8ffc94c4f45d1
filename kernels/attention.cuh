// Attention of new tokens on a cache, which is looked at in pieces of 64 positions.
// Queries that share keys are rows of one product on the tensor cores. A row sees
// positions up to its own, and pieces lie at fixed positions and are added in their
// order, so that a row's bits do not depend on the others.
#pragma once
#include "cache.cuh"

// Operand B of a product with rows of 16 halves that lie across it.
__device__ inline void load_transposed(uint32_t& b0, uint32_t& b1, const __half* row) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b0), "=r"(b1)
                 : "r"(at)
                 : "memory");
}

// Of a warp's 16 rows: scores of the piece, scaled, -infinity past `last[i]`, the
// last position that the lane's row g + 8 i sees; `query(k, i)` gives the operand.
template <int D, class Query>
__device__ inline void score(float (&scores)[SPLIT / 8][4], Rows<D> keys, Query query, int start,
                             const int (&last)[2], float scale) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        const uint32_t a[4] = {query(k, 0), query(k, 1), query(k, 2), query(k, 3)};
#pragma unroll
        for (int n = 0; n < SPLIT / 8; n++) {
            const __half* key = &keys[n * 8 + g][k * 16 + 2 * t];
            mma(scores[n], a, *reinterpret_cast<const uint32_t*>(key),
                *reinterpret_cast<const uint32_t*>(key + 8));
        }
    }
#pragma unroll
    for (int n = 0; n < SPLIT / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const bool seen = start + n * 8 + 2 * t + i % 2 <= last[i / 2];
            scores[n][i] = seen ? scores[n][i] * scale : -INFINITY;
        }
}

// Largest score of each of the lane's two rows, no less than `top` before.
__device__ inline void raise(float (&top)[2], const float (&scores)[SPLIT / 8][4]) {
#pragma unroll
    for (int n = 0; n < SPLIT / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) top[i / 2] = fmaxf(top[i / 2], scores[n][i]);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 1));
        top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 2));
    }
}

// Scores become weights e^(score - top); `sum` gets their sums added.
__device__ inline void weigh(float (&scores)[SPLIT / 8][4], const float (&top)[2], float (&sum)[2]) {
    float here[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < SPLIT / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            // Rows that see nothing of this piece would give -inf - -inf.
            const float weight = scores[n][i] == -INFINITY ? 0.0f : expf(scores[n][i] - top[i / 2]);
            scores[n][i] = weight;
            here[i / 2] += weight;
        }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        here[i] += __shfl_xor_sync(~0u, here[i], 1);
        here[i] += __shfl_xor_sync(~0u, here[i], 2);
        sum[i] += here[i];
    }
}

// Adds the values times the weights.
template <int D>
__device__ inline void mix(float (&mixed)[D / 8][4], const float (&weights)[SPLIT / 8][4],
                           Rows<D> values) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < SPLIT / 16; k++) {
        const uint32_t a[4] = {pack(weights[2 * k][0], weights[2 * k][1]),
                               pack(weights[2 * k][2], weights[2 * k][3]),
                               pack(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                               pack(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            uint32_t b0, b1;
            load_transposed(b0, b1, &values[k * 16 + lane % 16][n * 8]);
            mma(mixed[n], a, b0, b1);
        }
    }
}

// A piece for up to 16 columns. Grid (pieces, kv heads), 4 warps, each with tiles
// of 16 rows of its own.
template <int D, class Cache>
__device__ inline void attend(const Attention& p) {
    extern __shared__ __align__(128) uint8_t ring[];
    Rows<D> keys = reinterpret_cast<Rows<D>>(ring), values = keys + SPLIT;
    const State state = *p.state;
    const int piece = blockIdx.x, kv = blockIdx.y, start = piece * SPLIT;
    const int total = state.length + state.columns;
    if (start >= total) return;
    let_kernel_after_start();
    // What was in the cache does not depend on the kernel before.
    Cache::template load_piece<D>(p, kv, start, {0, state.length, total}, keys, values);
    wait_for_kernel_before();
    Cache::template load_piece<D>(p, kv, start, {state.length, total, total}, keys, values);
    wait_for_copies<0>();
    __syncthreads();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int group = p.heads / p.kv_heads, rows = group * state.columns;
    for (int first = warp * 16; first < rows; first += 64) {
        // The lane's two rows: their place in q, and the last position they see.
        size_t at[2];
        int last[2];
        bool is[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = first + g + i * 8;
            is[i] = row < rows;
            const int column = is[i] ? row / group : 0;
            at[i] = static_cast<size_t>(column) * p.heads + kv * group + (is[i] ? row % group : 0);
            last[i] = is[i] ? state.length + column : -1;
        }
        const auto query = [&](int k, int i) {
            return *reinterpret_cast<const uint32_t*>(p.q + at[i % 2] * D + k * 16 + 2 * t + i / 2 * 8);
        };
        float scores[SPLIT / 8][4] = {}, mixed[D / 8][4] = {};
        float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
        score<D>(scores, keys, query, start, last, p.scale);
        raise(top, scores);
        weigh(scores, top, sum);
        mix<D>(mixed, scores, values);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (!is[i]) continue;
            const size_t to = at[i] * p.pieces + piece;
            if (t == 0) p.tops[to] = make_float2(top[i], sum[i]);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *reinterpret_cast<float2*>(p.sums + to * D + n * 8 + 2 * t) =
                    make_float2(mixed[n][2 * i], mixed[n][2 * i + 1]);
        }
    }
}

// As many threads for each element put pieces together.
constexpr int JOINERS = 8;

// The pieces of a row put together. Grid (heads, columns), D * JOINERS threads.
template <int D>
__device__ inline void join(const Attention& p, uint8_t* x, int chunks) {
    __shared__ float mixed_of[JOINERS][D], sum_of[JOINERS];
    const State state = *p.state;
    const int head = blockIdx.x, column = blockIdx.y, lane = threadIdx.x % 32;
    const int joiner = threadIdx.x / D, element = threadIdx.x % D;
    if (column >= state.columns) return;
    let_kernel_after_start();
    wait_for_kernel_before();
    const int pieces = (state.length + column) / SPLIT + 1;
    const size_t row = (static_cast<size_t>(column) * p.heads + head) * p.pieces;
    float top = -INFINITY;
    for (int i = lane; i < pieces; i += 32) top = fmaxf(top, p.tops[row + i].x);
    for (int i = 16; i > 0; i /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
    float sum = 0.0f, mixed = 0.0f;
#pragma unroll 8
    for (int i = joiner; i < pieces; i += JOINERS) {
        const float2 of = p.tops[row + i];
        const float factor = expf(of.x - top);
        sum = fmaf(of.y, factor, sum);
        mixed = fmaf(p.sums[(row + i) * D + element], factor, mixed);
    }
    mixed_of[joiner][element] = mixed;
    if (element == 0) sum_of[joiner] = sum;
    __syncthreads();
    if (joiner > 0) return;
#pragma unroll
    for (int i = 1; i < JOINERS; i++) {
        sum += sum_of[i];
        mixed += mixed_of[i][element];
    }
    store_block(x, Form::NARROW, chunks, column, (head * D + element) / 32, mixed / sum);
}

// Many columns: one piece after the other, what was summed before scaled anew when
// a score is larger than all before it (Milakov and Gimelshein, arXiv:1805.02867).
// Grid (columns / 64, heads), 4 warps of 16 columns each.
template <int D, class Cache>
__device__ inline void attend_wide(const Attention& p, uint8_t* x, int chunks) {
    extern __shared__ __align__(128) uint8_t ring[];
    Rows<D> keys = reinterpret_cast<Rows<D>>(ring), values = keys + SPLIT;
    const State state = *p.state;
    const int block = blockIdx.x * 64, head = blockIdx.y, kv = head / (p.heads / p.kv_heads);
    if (block >= state.columns) return;
    wait_for_kernel_before();
    let_kernel_after_start();
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int first = block + static_cast<int>(threadIdx.x) / 32 * 16 + g;
    int last[2];
    uint32_t q[D / 16][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int column = min(first + i * 8, state.columns - 1);
        last[i] = state.length + column;
        const __half* from = p.q + (static_cast<size_t>(column) * p.heads + head) * D + 2 * t;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            q[k][i] = *reinterpret_cast<const uint32_t*>(from + k * 16);
            q[k][i + 2] = *reinterpret_cast<const uint32_t*>(from + k * 16 + 8);
        }
    }
    const int end = state.length + min(block + 64, state.columns);
    float mixed[D / 8][4] = {};
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    for (int start = 0; start < end; start += SPLIT) {
        __syncthreads();
        Cache::template load_piece<D>(p, kv, start, {0, end, end}, keys, values);
        wait_for_copies<0>();
        __syncthreads();
        float scores[SPLIT / 8][4] = {};
        score<D>(scores, keys, [&](int k, int i) { return q[k][i]; }, start, last, p.scale);
        // Every row sees position 0, so that no top stays at -infinity.
        float before[2] = {top[0], top[1]};
        raise(top, scores);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float factor = expf(before[i] - top[i]);
            sum[i] *= factor;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                mixed[n][2 * i] *= factor;
                mixed[n][2 * i + 1] *= factor;
            }
        }
        weigh(scores, top, sum);
        mix<D>(mixed, scores, values);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (first + i * 8 >= state.columns) continue;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                store_wide(x, chunks, first + i * 8, head * D + n * 8 + 2 * t + j,
                           mixed[n][2 * i + j] / sum[i]);
    }
}

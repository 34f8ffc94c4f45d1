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

// Of 16 rows: scores of N times 8 positions from `start` on, scaled, -infinity past
// `last[i]`, the last position that the lane's row g + 8 i sees; `q` are the operands.
template <int D, int N>
__device__ inline void score(float (&scores)[N][4], Rows<D> keys, const uint32_t (&q)[D / 16][4],
                             int start, const int (&last)[2], float scale) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int n = 0; n < N; n++) {
            const __half* key = &keys[n * 8 + g][k * 16 + 2 * t];
            mma(scores[n], q[k], *reinterpret_cast<const uint32_t*>(key),
                *reinterpret_cast<const uint32_t*>(key + 8));
        }
#pragma unroll
    for (int n = 0; n < N; n++)
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

// Adds the values times the weights, of N times 8 elements from `first` on.
template <int D, int N>
__device__ inline void mix(float (&mixed)[N][4], const float (&weights)[SPLIT / 8][4],
                           Rows<D> values, int first) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < SPLIT / 16; k++) {
        const uint32_t a[4] = {pack(weights[2 * k][0], weights[2 * k][1]),
                               pack(weights[2 * k][2], weights[2 * k][3]),
                               pack(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                               pack(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < N; n++) {
            uint32_t b0, b1;
            load_transposed(b0, b1, &values[k * 16 + lane % 16][first + n * 8]);
            mma(mixed[n], a, b0, b1);
        }
    }
}

// The lane's two of 16 rows of a block: their place in q, the last position they see.
struct Lane {
    size_t at[2];
    int last[2];
    bool is[2];
    __device__ Lane(const Attention& p, const State& state, int first) {
        const int group = p.heads / p.kv_heads, rows = group * state.columns;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = first + static_cast<int>(threadIdx.x) % 32 / 4 + i * 8;
            is[i] = row < rows;
            const int column = is[i] ? row / group : 0;
            const int head = static_cast<int>(blockIdx.y) * group + (is[i] ? row % group : 0);
            at[i] = static_cast<size_t>(column) * p.heads + head;
            last[i] = is[i] ? state.length + column : -1;
        }
    }
    template <int D>
    __device__ void queries(uint32_t (&q)[D / 16][4], const Attention& p) const {
#pragma unroll
        for (int k = 0; k < D / 16; k++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                q[k][i] = *reinterpret_cast<const uint32_t*>(
                    p.q + at[i % 2] * D + k * 16 + threadIdx.x % 4 * 2 + i / 2 * 8);
    }
    // N times 8 elements of the rows, from `first` on.
    template <int D, int N>
    __device__ void write(const Attention& p, int piece, const float (&mixed)[N][4], int first,
                          const float (&top)[2], const float (&sum)[2]) const {
        const int t = threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (!is[i]) continue;
            const size_t to = at[i] * p.pieces + piece;
            if (t == 0 && first == 0) p.tops[to] = make_float2(top[i], sum[i]);
#pragma unroll
            for (int n = 0; n < N; n++)
                *reinterpret_cast<float2*>(p.sums + to * D + first + n * 8 + 2 * t) =
                    make_float2(mixed[n][2 * i], mixed[n][2 * i + 1]);
        }
    }
};

// A piece for up to 16 columns. Grid (pieces, kv heads), 4 warps: where there are 16 rows
// at most, each scores a quarter of the positions and mixes a quarter of the elements;
// of more, each has tiles of 16 of its own. The additions are the same.
template <int D, class Cache>
__device__ inline void attend(const Attention& p) {
    extern __shared__ __align__(128) uint8_t ring[];
    constexpr int PART = SPLIT / 8 / 4, OF_D = D / 8 / 4;
    __shared__ float4 shared_scores[SPLIT / 8][32];
    Rows<D> keys = reinterpret_cast<Rows<D>>(ring), values = keys + SPLIT;
    const State state = *p.state;
    const int piece = blockIdx.x, kv = blockIdx.y, start = piece * SPLIT;
    const int total = state.length + state.columns, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int rows = p.heads / p.kv_heads * state.columns;
    if (start >= total) return;
    let_kernel_after_start();
    // What was in the cache does not depend on the kernel before.
    Cache::template load_piece<D>(p, kv, start, {0, state.length, total}, keys, values);
    wait_for_kernel_before();
    Cache::template load_piece<D>(p, kv, start, {state.length, total, total}, keys, values);
    uint32_t q[D / 16][4];
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, scores[SPLIT / 8][4] = {};
    if (rows <= 16) {
        const Lane own(p, state, 0);
        own.queries<D>(q, p);
        wait_for_copies<0>();
        __syncthreads();
        float part[PART][4] = {}, mixed[OF_D][4] = {};
        const int first = warp * PART * 8;
        score<D, PART>(part, keys + first, q, start + first, own.last, p.scale);
#pragma unroll
        for (int n = 0; n < PART; n++)
            shared_scores[warp * PART + n][lane] =
                make_float4(part[n][0], part[n][1], part[n][2], part[n][3]);
        __syncthreads();
#pragma unroll
        for (int n = 0; n < SPLIT / 8; n++) {
            const float4 four = shared_scores[n][lane];
            scores[n][0] = four.x, scores[n][1] = four.y, scores[n][2] = four.z, scores[n][3] = four.w;
        }
        raise(top, scores);
        weigh(scores, top, sum);
        mix<D, OF_D>(mixed, scores, values, warp * OF_D * 8);
        own.write<D, OF_D>(p, piece, mixed, warp * OF_D * 8, top, sum);
        return;
    }
    wait_for_copies<0>();
    __syncthreads();
    for (int first = warp * 16; first < rows; first += 64) {
        const Lane own(p, state, first);
        own.queries<D>(q, p);
        float all[SPLIT / 8][4] = {}, mixed[D / 8][4] = {};
        top[0] = top[1] = -INFINITY;
        sum[0] = sum[1] = 0.0f;
        score<D, SPLIT / 8>(all, keys, q, start, own.last, p.scale);
        raise(top, all);
        weigh(all, top, sum);
        mix<D, D / 8>(mixed, all, values, 0);
        own.write<D, D / 8>(p, piece, mixed, 0, top, sum);
    }
}

// As many threads for each element put pieces together.
constexpr int JOINERS = 4;

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
#pragma unroll 16
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
        score<D, SPLIT / 8>(scores, keys, q, start, last, p.scale);
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
        mix<D, D / 8>(mixed, scores, values, 0);
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

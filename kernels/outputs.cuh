// What becomes of the sums of a product: the norm's factor, heads with rotation in the
// cache, the residual stream.
#pragma once
#include "wide.cuh"

// Sums of squares `(columns, parts)` of a row's `dim` elements.
struct Norm {
    const float* squares;
    int parts, dim;
    float eps;
};

// Rows of the three matrices stand side by side; `first` is the first of this part.
// There is room for `context` positions, after which they begin anew.
struct Heads {
    __half* q;
    __half* k;
    __half* v;
    const float2* turns;
    int first, heads, kv_heads, head_dim, pairs, context;
};

struct Residual {
    float* hidden;
    const float* weight;
    uint8_t* x;
    float* squares;
    int dim, chunks;
    Form form;
};

// 1 / root mean square of each column from `first` on, into shared memory.
template <int W>
__device__ inline void inverse_rms(float* inverse, const Norm& norm, int first, int columns) {
    const int lane = threadIdx.x % 32;
    for (int column = threadIdx.x / 32; column < columns; column += W) {
        const float* squares = norm.squares + static_cast<size_t>(first + column) * norm.parts;
        float sum = 0.0f;
#pragma unroll 8
        for (int i = lane; i < norm.parts; i += 32) sum += squares[i];
        for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
        if (lane == 0) inverse[column] = 1.0f / sqrtf(sum / norm.dim + norm.eps);
    }
}

// Turns an element of a head by its position and writes it to the queries or to
// the cache; `other` is the element beside it in its pair.
__device__ inline void write_head(const Heads& to, int length, int column, int row, float value,
                                  float other) {
    const int at = to.first + row, head = at / to.head_dim, element = at % to.head_dim;
    const int pair = element / 2, position = length + column;
    float turned = value;
    if (head < to.heads + to.kv_heads && pair < to.pairs) {
        const float2 turn = to.turns[static_cast<size_t>(position) * to.pairs + pair];
        turned = element % 2 ? fmaf(other, turn.y, value * turn.x)
                             : fmaf(-other, turn.y, value * turn.x);
    }
    const __half half = __float2half_rn(turned);
    if (head < to.heads) {
        to.q[(static_cast<size_t>(column) * to.heads + head) * to.head_dim + element] = half;
    } else {
        const int kv = (head - to.heads) % to.kv_heads;
        __half* cache = head < to.heads + to.kv_heads ? to.k : to.v;
        const size_t place = static_cast<size_t>(kv) * to.context + position % to.context;
        cache[place * to.head_dim + element] = half;
    }
}

__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }

// The lane's row of the residual stream, and its weight in the next norm.
struct Before {
    float hidden, weight;
};

__device__ inline Before before(const Residual& to, int block, int column) {
    const int row = block * 32 + static_cast<int>(threadIdx.x) % 32;
    return {to.hidden[static_cast<size_t>(column) * to.dim + row], to.weight[row]};
}

// Adds 32 rows to the residual stream, and prepares the next norm's product.
__device__ inline void add_residual(const Residual& to, int block, int column, float value,
                                    const Before& before) {
    const int lane = threadIdx.x % 32, row = block * 32 + lane;
    const float x = before.hidden + value;
    to.hidden[static_cast<size_t>(column) * to.dim + row] = x;
    float square = x * x;
    for (int i = 16; i > 0; i /= 2) square += __shfl_xor_sync(~0u, square, i);
    if (lane == 0) to.squares[static_cast<size_t>(column) * (to.dim / 32) + block] = square;
    store_block(to.x, to.form, to.chunks, column, block, x * before.weight);
}

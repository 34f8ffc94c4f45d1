// The kernels of a forward pass.
//
// A layer of a pass over 1 to 16 new tokens is six launches: queries, keys and values
// with rotation and cache write (a cache in q8_0 is quantized into by one more);
// attention in pieces; the pieces joined; output with residual; gate and up with SiLU; down
// with residual. A norm costs no launch: what writes the residual stream also writes it
// times the next norm's weights, with the sum of squares of its 32 rows, and what reads
// that divides by the root of their mean at its end, which is the same because a product
// is linear. More tokens take the same steps in kernels named wide.
//
// A kernel lets the next one start at once: that may copy weights and what was in the
// cache, and waits for this one before it reads anything else.
#include "choice.cuh"
#include "product.cuh"

struct Inner {
    uint8_t* x;
    int chunks;
};

struct Logits {
    float* logits;
    int vocab;
};

template <class F, int NT>
__device__ inline void heads(const Product& p, const Norm& norm, const Heads& to) {
    __shared__ float inverse[NT * 4];
    const State state = *p.state;
    product<F, NT, 16>(
        p, p.x, state.columns,
        [&](int) { inverse_rms<Shape<F, NT, 16>::WARPS>(inverse, norm, 0, state.columns); },
        [&](int column, int row, float sum, bool valid) {
            const float value = sum * inverse[column];
            const float other = __shfl_xor_sync(~0u, value, 1);
            if (valid) write_head(to, state.length, column, to.first + row, value, other);
        },
        [](int) {});
}

template <class F>
__device__ inline void heads_wide(const Product& p, const Norm& norm, const Heads& to) {
    __shared__ float inverse[WIDE];
    const State state = *p.state;
    const int base = blockIdx.x * WIDE, columns = min(WIDE, state.columns - base);
    if (columns <= 0) return;
    wide<F>(p.weights, p.x, p.chunks, p.rows,
            [&] { inverse_rms<WIDE_WARPS>(inverse, norm, base, columns); },
            [&](int tile, const float(&acc)[2][WIDE / 8][4]) {
                const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
                for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        const int column = n * 8 + 2 * t + i % 2;
                        const float value = acc[i / 4][n][i % 4] * inverse[min(column, columns - 1)];
                        // Rows g and g ^ 1.
                        const float other = __shfl_xor_sync(~0u, value, 4);
                        const int row = (tile + i / 4) * 16 + g + i % 4 / 2 * 8;
                        if (column < columns)
                            write_head(to, state.length, base + column, row, value, other);
                    }
            });
}

// Room for the rows of a unit, or of a set, of all columns.
template <int NT>
using Unit = float[NT * 4][64 + 1];

template <class F, int NT>
__device__ inline void residual(const Product& p, const Residual& to) {
    __shared__ Unit<NT> rows;
    const int columns = p.state->columns, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // A warp's first column of the first rows, read before it is needed.
    Before early = {0.0f, 0.0f};
    int early_row = 0;
    product<F, NT, 32>(
        p, p.x, columns,
        [&](int first) {
            early_row = first;
            if (warp < columns && first < p.rows) early = before(to, first / 32, warp);
        },
        [&](int column, int row, float sum, bool valid) {
            if (valid) rows[column][row % 64] = sum;
        },
        [&](int first) {
            for (int column = warp; column < columns; column += Shape<F, NT, 32>::WARPS) {
                const bool is_early = first == early_row && column == warp;
                add_residual(to, first / 32, column, rows[column][first % 64 + lane],
                             is_early ? early : before(to, first / 32, column));
            }
        });
}

// The rows 16 tile + g + 8 i of a column, in a lane each, for the product that follows.
__device__ inline void store_rows(const Residual& to, int column, int columns, int tile,
                                  const float (&values)[4]) {
    const int g = threadIdx.x % 32 / 4;
    float largest = 0.0f;
    for (float value : values) largest = fmaxf(largest, fabsf(value));
    for (int i = 4; i < 32; i *= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float scale = largest / MOST;
    int q[4], sum = 0;
    for (int i = 0; i < 4; i++) sum += q[i] = round_to(scale, values[i]);
    for (int i = 4; i < 32; i *= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (column >= columns) return;
    for (int i = 0; i < 4; i++) {
        const int row = tile * 16 + g + i * 8;
        if (to.form == Form::WIDE)
            store_wide(to.x, to.chunks, column, row, values[i]);
        else
            store_narrow(to.x, to.chunks, column, row, q[i], g + i == 0, scale, sum);
    }
}

template <class F>
__device__ inline void residual_wide(const Product& p, const Residual& to) {
    const int base = blockIdx.x * WIDE, columns = p.state->columns;
    if (base >= columns) return;
    wide<F>(p.weights, p.x, p.chunks, p.rows, [] {},
            [&](int tile, const float(&acc)[2][WIDE / 8][4]) {
                const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
                for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        const int column = base + n * 8 + 2 * t + j;
                        float square = 0.0f, prepared[4] = {};
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            const int row = tile * 16 + g + i * 8;
                            if (column >= columns) continue;
                            float* hidden = to.hidden + static_cast<size_t>(column) * to.dim + row;
                            const float x = *hidden + acc[i / 2][n][i % 2 * 2 + j];
                            *hidden = x;
                            square += x * x;
                            prepared[i] = x * to.weight[row];
                        }
                        store_rows(to, column, columns, tile, prepared);
                        for (int i = 4; i < 32; i *= 2) square += __shfl_xor_sync(~0u, square, i);
                        if (g == 0 && column < columns)
                            to.squares[static_cast<size_t>(column) * (to.dim / 32) + tile / 2] = square;
                    }
            });
}

// 16 rows of the gate, then the same of up, twice, make 32 rows of SiLU(gate) * up.
template <class F, int NT>
__device__ inline void inner(const Product& p, const Norm& norm, const Inner& to) {
    __shared__ Unit<NT> rows;
    __shared__ float inverse[NT * 4];
    const int columns = p.state->columns;
    product<F, NT, 64>(
        p, p.x, columns, [&](int) { inverse_rms<Shape<F, NT, 64>::WARPS>(inverse, norm, 0, columns); },
        [&](int column, int row, float sum, bool valid) {
            if (valid) rows[column][row % 64] = sum * inverse[column];
        },
        [&](int first) {
            const int lane = threadIdx.x % 32, gate = lane / 16 * 32 + lane % 16;
            for (int column = threadIdx.x / 32; column < columns; column += Shape<F, NT, 64>::WARPS) {
                const float value = silu(rows[column][gate]) * rows[column][gate + 16];
                store_block(to.x, Form::NARROW, to.chunks, column, first / 64, value);
            }
        });
}

template <class F>
__device__ inline void inner_wide(const Product& p, const Norm& norm, const Inner& to) {
    __shared__ float inverse[WIDE];
    const int base = blockIdx.x * WIDE, columns = min(WIDE, p.state->columns - base);
    if (columns <= 0) return;
    wide<F>(p.weights, p.x, p.chunks, p.rows,
            [&] { inverse_rms<WIDE_WARPS>(inverse, norm, base, columns); },
            [&](int tile, const float(&acc)[2][WIDE / 8][4]) {
                const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
                for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int column = n * 8 + 2 * t + i % 2;
                        if (column >= columns) continue;
                        const float gate = acc[0][n][i] * inverse[column];
                        const float value = silu(gate) * (acc[1][n][i] * inverse[column]);
                        store_wide(to.x, to.chunks, base + column, tile * 8 + g + i / 2 * 8, value);
                    }
            });
}

// Of up to 16 columns from `first` on.
template <class F, int NT>
__device__ inline void logits(const Product& p, const Norm& norm, const Logits& to) {
    __shared__ float inverse[NT * 4];
    const State state = *p.state;
    const int columns = min(state.columns - state.first, NT * 4);
    product<F, NT, 16>(
        p, p.x + static_cast<size_t>(state.first / 4) * p.chunks * 4 * RECORD, columns,
        [&](int) { inverse_rms<Shape<F, NT, 16>::WARPS>(inverse, norm, state.first, columns); },
        [&](int column, int row, float sum, bool valid) {
            if (valid) to.logits[static_cast<size_t>(column) * to.vocab + row] = sum * inverse[column];
        },
        [](int) {});
}

#define DIRECT(F, NC, UNIT)                                                          \
    extern "C" __global__ __launch_bounds__(Shape<F, NC / 4, UNIT>::WARPS * 32,      \
                                            Shape<F, NC / 4, UNIT>::BLOCKS) void
#define KERNELS(F, NC)                                                                              \
    DIRECT(F, NC, 16) heads_##F##_##NC(Product p, Norm n, Heads to) { heads<F, NC / 4>(p, n, to); } \
    DIRECT(F, NC, 32) residual_##F##_##NC(Product p, Residual to) { residual<F, NC / 4>(p, to); }   \
    DIRECT(F, NC, 64) inner_##F##_##NC(Product p, Norm n, Inner to) { inner<F, NC / 4>(p, n, to); } \
    DIRECT(F, NC, 16) logits_##F##_##NC(Product p, Norm n, Logits to) { logits<F, NC / 4>(p, n, to); }
#define WIDELY extern "C" __global__ __launch_bounds__(WIDE_WARPS * 32, 2) void
#define FORMAT(F)                                                                     \
    KERNELS(F, 4)                                                                     \
    KERNELS(F, 8)                                                                     \
    KERNELS(F, 16)                                                                    \
    WIDELY heads_##F##_wide(Product p, Norm n, Heads to) { heads_wide<F>(p, n, to); } \
    WIDELY residual_##F##_wide(Product p, Residual to) { residual_wide<F>(p, to); }   \
    WIDELY inner_##F##_wide(Product p, Norm n, Inner to) { inner_wide<F>(p, n, to); }
FORMAT(Q4_0)
FORMAT(Q4_K)
FORMAT(Q5_K)
FORMAT(Q6_K)
FORMAT(Q8_0)

#define ATTENTION(NAME, D, CACHE)                                                                  \
    extern "C" __global__ __launch_bounds__(128) void attend_##NAME(Attention p) {                 \
        attend<D, CACHE>(p);                                                                       \
    }                                                                                              \
    extern "C" __global__ __launch_bounds__(128) void attend_wide_##NAME(Attention p, uint8_t* x,  \
                                                                         int chunks) {             \
        attend_wide<D, CACHE>(p, x, chunks);                                                       \
    }
#define HEADS(D)                                                                                  \
    ATTENTION(D, D, F16)                                                                          \
    ATTENTION(D##_q8_0, D, Q8)                                                                    \
    extern "C" __global__ __launch_bounds__(D* JOINERS) void join_##D(Attention p, uint8_t* x, int chunks) { \
        join<D>(p, x, chunks);                                                                    \
    }
HEADS(32)
HEADS(64)
HEADS(128)
extern "C" __global__ __launch_bounds__(256) void quantize_cache(Fresh p) { quantize(p); }

// The first norm: embeddings are in `hidden` already. Grid (dim / 256, columns).
extern "C" __global__ __launch_bounds__(256) void begin(Residual to, const State* state) {
    const int column = blockIdx.y, block = blockIdx.x * 8 + threadIdx.x / 32;
    let_kernel_after_start();
    wait_for_kernel_before();
    if (column < state->columns && block < to.dim / 32)
        add_residual(to, block, column, 0.0f, before(to, block, column));
}

extern "C" __global__ __launch_bounds__(CHOOSERS) void choose(Choosing p) {
    wait_for_kernel_before();
    let_kernel_after_start();
    choose_token(p);
}

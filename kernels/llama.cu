// The kernels of a forward pass.
//
// A layer of a pass over 1 to 16 new tokens is six launches: queries, keys and values
// with rotation and cache write (a cache in q8_0 is quantized into by one more);
// attention in pieces; the pieces joined; output with residual; gate and up with SiLU; down with residual. A norm costs no launch: what
// writes the residual stream also writes it times the next norm's weights, with the
// sum of squares of its 32 rows, and what reads that divides by the root of their
// mean at its end, which is the same because a product is linear. More tokens take
// the same steps in kernels named wide.
#include "choice.cuh"
#include "outputs.cuh"

struct Product {
    const uint8_t* weights;
    const uint4* x;
    const State* state;
    int chunks, rows;
};

struct Inner {
    uint4* x;
    int chunks;
};

struct Logits {
    float* logits;
    int vocab;
};

// Warps and tiles of 16 rows for each block; the host knows them too. The warps of a
// tile share its columns.
constexpr int WARPS = 8, TILES = 2;
static_assert(TILES == 2, "32 rows make a part of the squares, 16 of the gate and 16 of up a block");

template <class F, int NT, class Prepare, class Emit>
__device__ inline void product(const uint8_t* weights, const uint4* x, int chunks, int columns,
                               Prepare prepare, Emit emit) {
    direct<F, NT, 1, TILES, WARPS / TILES>(weights, x, chunks, columns, prepare, emit);
}

template <class F, int NT>
__device__ inline void heads(const Product& p, const Norm& norm, const Heads& to) {
    __shared__ float inverse[16];
    const State state = *p.state;
    product<F, NT>(
        p.weights, p.x, p.chunks, state.columns,
        [&] { inverse_rms<WARPS>(inverse, norm, 0, state.columns); },
        [&](int m, int column, int row, float sum, bool valid) {
            const float value = sum * inverse[column];
            const float other = __shfl_xor_sync(~0u, value, 1);
            const int at = (blockIdx.x * TILES + m) * 16 + row;
            if (valid) write_head(to, state.length, column, at, value, other);
        });
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

template <class F, int NT>
__device__ inline void residual(const Product& p, const Residual& to) {
    __shared__ float rows[16][TILES * 16 + 1];
    const int columns = p.state->columns;
    product<F, NT>(p.weights, p.x, p.chunks, columns, [] {},
                                [&](int m, int column, int row, float sum, bool valid) {
                                    if (valid) rows[column][m * 16 + row] = sum;
                                });
    __syncthreads();
    for (int column = threadIdx.x / 32; column < columns; column += WARPS)
        add_residual(to, blockIdx.x, column, rows[column][threadIdx.x % 32]);
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
                        float square = 0.0f;
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            const int row = tile * 16 + g + i * 8;
                            if (column >= columns) continue;
                            float* hidden = to.hidden + static_cast<size_t>(column) * to.dim + row;
                            const float x = *hidden + acc[i / 2][n][i % 2 * 2 + j];
                            *hidden = x;
                            square += x * x;
                            store(to.x, to.chunks * 8, column, row, x * to.weight[row]);
                        }
                        for (int i = 4; i < 32; i *= 2) square += __shfl_xor_sync(~0u, square, i);
                        if (g == 0 && column < columns)
                            to.squares[static_cast<size_t>(column) * (to.dim / 32) + tile / 2] = square;
                    }
            });
}

// 16 rows of the gate, then the same of up, make 16 rows of SiLU(gate) * up.
template <class F, int NT>
__device__ inline void inner(const Product& p, const Norm& norm, const Inner& to) {
    __shared__ float rows[16][TILES * 16 + 1], inverse[16];
    const int columns = p.state->columns;
    product<F, NT>(
        p.weights, p.x, p.chunks, columns, [&] { inverse_rms<WARPS>(inverse, norm, 0, columns); },
        [&](int m, int column, int row, float sum, bool valid) {
            if (valid) rows[column][m * 16 + row] = sum * inverse[column];
        });
    __syncthreads();
    for (int i = threadIdx.x; i < columns * 16; i += WARPS * 32) {
        const int column = i / 16, row = i % 16;
        const float value = silu(rows[column][row]) * rows[column][16 + row];
        store(to.x, to.chunks * 8, column, blockIdx.x * 16 + row, value);
    }
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
                        store(to.x, to.chunks * 8, base + column, tile * 8 + g + i / 2 * 8, value);
                    }
            });
}

// Of up to 16 columns from `first` on.
template <class F, int NT>
__device__ inline void logits(const Product& p, const Norm& norm, const Logits& to) {
    __shared__ float inverse[16];
    const State state = *p.state;
    const int columns = min(state.columns - state.first, NT * 8);
    product<F, NT>(
        p.weights, p.x + static_cast<size_t>(state.first / 8) * p.chunks * 8 * 32, p.chunks, columns,
        [&] { inverse_rms<WARPS>(inverse, norm, state.first, columns); },
        [&](int m, int column, int row, float sum, bool valid) {
            const int id = (blockIdx.x * TILES + m) * 16 + row;
            if (valid && id < to.vocab)
                to.logits[static_cast<size_t>(column) * to.vocab + id] = sum * inverse[column];
        });
}

#define SHARED(BLOCKS) extern "C" __global__ __launch_bounds__(WARPS * 32, BLOCKS) void
#define NARROW SHARED(2)
// Two of these do not have the registers to share a multiprocessor.
#define ALONE extern "C" __global__ __launch_bounds__(WARPS * 32) void
#define KERNELS(F, NC, HEADS)                                                                   \
    SHARED(HEADS) heads_##F##_##NC(Product p, Norm n, Heads to) { heads<F, NC / 8>(p, n, to); } \
    NARROW residual_##F##_##NC(Product p, Residual to) { residual<F, NC / 8>(p, to); }          \
    NARROW inner_##F##_##NC(Product p, Norm n, Inner to) { inner<F, NC / 8>(p, n, to); }        \
    ALONE logits_##F##_##NC(Product p, Norm n, Logits to) { logits<F, NC / 8>(p, n, to); }
#define WIDELY extern "C" __global__ __launch_bounds__(WIDE_WARPS * 32, 2) void
#define FORMAT(F, HEADS)                                                              \
    KERNELS(F, 8, HEADS)                                                              \
    KERNELS(F, 16, 2)                                                                 \
    WIDELY heads_##F##_wide(Product p, Norm n, Heads to) { heads_wide<F>(p, n, to); } \
    WIDELY residual_##F##_wide(Product p, Residual to) { residual_wide<F>(p, to); }   \
    WIDELY inner_##F##_wide(Product p, Norm n, Inner to) { inner_wide<F>(p, n, to); }
// Blocks of `heads` that share a multiprocessor for up to 8 columns: the 320 of
// Llama-2-70B run at once if three do, which is worth more than registers but in Q6_K.
FORMAT(Q4_0, 3)
FORMAT(Q4_K, 3)
FORMAT(Q5_K, 3)
FORMAT(Q6_K, 2)
FORMAT(Q8_0, 3)

#define ATTENTION(NAME, D, CACHE)                                                                  \
    extern "C" __global__ __launch_bounds__(128) void attend_##NAME(Attention p) {                 \
        attend<D, CACHE>(p);                                                                       \
    }                                                                                              \
    extern "C" __global__ __launch_bounds__(128) void attend_wide_##NAME(Attention p, uint4* x,    \
                                                                         int chunks) {             \
        attend_wide<D, CACHE>(p, x, chunks);                                                       \
    }
#define HEADS(D)                                                                                  \
    ATTENTION(D, D, F16)                                                                          \
    ATTENTION(D##_q8_0, D, Q8)                                                                    \
    extern "C" __global__ __launch_bounds__(D) void join_##D(Attention p, uint4* x, int chunks) { \
        join<D>(p, x, chunks);                                                                    \
    }
HEADS(32)
HEADS(64)
HEADS(128)
extern "C" __global__ __launch_bounds__(256) void quantize_cache(Fresh p) { quantize(p); }

// The first norm: embeddings are in `hidden` already. Grid (dim / 256, columns).
extern "C" __global__ __launch_bounds__(256) void begin(Residual to, const State* state) {
    const int column = blockIdx.y, block = blockIdx.x * 8 + threadIdx.x / 32;
    wait_for_kernel_before();
    let_kernel_after_start();
    if (column < state->columns && block < to.dim / 32) add_residual(to, block, column, 0.0f);
}

extern "C" __global__ __launch_bounds__(CHOOSERS) void choose(Choosing p) {
    wait_for_kernel_before();
    let_kernel_after_start();
    choose_token(p);
}

// The kernels of a forward pass over 1 to 16 new tokens.
//
// A layer is six launches: queries, keys and values with rotation and cache
// write; attention in pieces; the pieces joined; output with residual; gate and up
// with SiLU; down with residual. A norm costs no launch: what writes the residual
// stream also writes it times the next norm's weights, in 8 bits, with the sum of
// squares of its 32 rows, and what reads that divides by the root of their mean at
// its end, which is the same because a product is linear.
#include "attention.cuh"

struct Product {
    const uint8_t* weights;
    Activations x;
    const State* state;
    int chunks;
};

// Sums of squares `(columns, parts)` of a row's `dim` elements.
struct Norm {
    const float* squares;
    int parts, dim;
    float eps;
};

// Rows of the three matrices stand side by side; `first` is the first of this part.
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
    Activations x;
    float* squares;
    int dim, chunks;
};

struct Inner {
    Activations x;
    int chunks;
};

struct Logits {
    float* logits;
    int vocab;
};

// Warps, stages and tiles of 16 rows for each block; the host knows them too.
constexpr int WARPS = 8, STAGES = 2, TILES = 2;
constexpr int INNER_WARPS = 4, INNER_TILES = 4;
static_assert(STAGES > 0 && INNER_TILES == 4, "32 rows of the gate, 32 of up");

template <class F, int NC, int MT, int W, class Prepare, class Emit>
__device__ inline void product(const Product& p, int columns, Prepare prepare, Emit emit) {
#if __CUDA_ARCH__ >= 900
    bulk<F, NC, MT, W, STAGES>(p.weights, p.x, p.chunks, columns, prepare, emit);
#else
    direct<F, NC, MT, W, false>(p.weights, p.x, p.chunks, columns, prepare, emit);
#endif
}

// 1 / root mean square of each column, into shared memory.
template <int W>
__device__ inline void inverse_rms(float* inverse, const Norm& norm, int columns) {
    const int lane = threadIdx.x % 32;
    for (int column = threadIdx.x / 32; column < columns; column += W) {
        float sum = 0.0f;
        for (int i = lane; i < norm.parts; i += 32) sum += norm.squares[column * norm.parts + i];
        for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
        if (lane == 0) inverse[column] = 1.0f / sqrtf(sum / norm.dim + norm.eps);
    }
}

template <class F, int NC>
__device__ inline void heads(const Product& p, const Norm& norm, const Heads& to) {
    __shared__ float inverse[16];
    const State state = *p.state;
    const auto emit = [&](int m, int column, int row, float sum, bool valid) {
        const float value = sum * inverse[column];
        const float other = __shfl_xor_sync(~0u, value, 1);
        if (!valid) return;
        int at = to.first + (blockIdx.x * TILES + m) * 16 + row;
        const int head = at / to.head_dim, element = at % to.head_dim, pair = element / 2;
        const int position = state.length + column;
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
            cache[(static_cast<size_t>(kv) * to.context + position) * to.head_dim + element] = half;
        }
    };
    product<F, NC, TILES, WARPS>(p, state.columns,
                                 [&] { inverse_rms<WARPS>(inverse, norm, state.columns); }, emit);
}

// Adds 32 rows to the residual stream, and prepares the next norm's product.
__device__ inline void add_residual(const Residual& to, int block, int column, float value) {
    const int lane = threadIdx.x % 32, row = block * 32 + lane;
    float* hidden = to.hidden + static_cast<size_t>(column) * to.dim + row;
    const float x = *hidden + value;
    *hidden = x;
    float square = x * x;
    for (int i = 16; i > 0; i /= 2) square += __shfl_xor_sync(~0u, square, i);
    if (lane == 0) to.squares[column * (to.dim / 32) + block] = square;
    quantize_block(to.x, to.chunks, column, block, x * to.weight[row]);
}

template <class F, int NC>
__device__ inline void residual(const Product& p, const Residual& to) {
    __shared__ float rows[16][TILES * 16 + 1];
    const int columns = p.state->columns;
    product<F, NC, TILES, WARPS>(p, columns, [] {},
                                 [&](int m, int column, int row, float sum, bool valid) {
                                     if (valid) rows[column][m * 16 + row] = sum;
                                 });
    __syncthreads();
    for (int column = threadIdx.x / 32; column < columns; column += WARPS)
        add_residual(to, blockIdx.x, column, rows[column][threadIdx.x % 32]);
}

// 32 rows of the gate, then the same of up, make 32 rows of SiLU(gate) * up.
template <class F, int NC>
__device__ inline void inner(const Product& p, const Norm& norm, const Inner& to) {
    __shared__ float rows[16][INNER_TILES * 16 + 1], inverse[16];
    const int columns = p.state->columns, lane = threadIdx.x % 32;
    product<F, NC, INNER_TILES, INNER_WARPS>(
        p, columns, [&] { inverse_rms<INNER_WARPS>(inverse, norm, columns); },
        [&](int m, int column, int row, float sum, bool valid) {
            if (valid) rows[column][m * 16 + row] = sum * inverse[column];
        });
    __syncthreads();
    for (int column = threadIdx.x / 32; column < columns; column += INNER_WARPS) {
        const float gate = rows[column][lane], up = rows[column][32 + lane];
        quantize_block(to.x, to.chunks, column, blockIdx.x, gate / (1.0f + expf(-gate)) * up);
    }
}

template <class F, int NC>
__device__ inline void logits(const Product& p, const Norm& norm, const Logits& to) {
    __shared__ float inverse[16];
    const int columns = p.state->columns;
    product<F, NC, TILES, WARPS>(
        p, columns, [&] { inverse_rms<WARPS>(inverse, norm, columns); },
        [&](int m, int column, int row, float sum, bool valid) {
            const int id = (blockIdx.x * TILES + m) * 16 + row;
            if (valid && id < to.vocab)
                to.logits[static_cast<size_t>(column) * to.vocab + id] = sum * inverse[column];
        });
}

#define KERNELS(F, NC)                                                                          \
    extern "C" __global__ __launch_bounds__(WARPS * 32) void heads_##F##_##NC(Product p, Norm n, \
                                                                              Heads to) {       \
        heads<F, NC>(p, n, to);                                                                 \
    }                                                                                           \
    extern "C" __global__ __launch_bounds__(WARPS * 32) void residual_##F##_##NC(Product p,     \
                                                                                 Residual to) { \
        residual<F, NC>(p, to);                                                                 \
    }                                                                                           \
    extern "C" __global__ __launch_bounds__(INNER_WARPS * 32) void inner_##F##_##NC(            \
        Product p, Norm n, Inner to) {                                                          \
        inner<F, NC>(p, n, to);                                                                 \
    }                                                                                           \
    extern "C" __global__ __launch_bounds__(WARPS * 32) void logits_##F##_##NC(Product p, Norm n, \
                                                                               Logits to) {     \
        logits<F, NC>(p, n, to);                                                                \
    }
#define FORMAT(F) KERNELS(F, 1) KERNELS(F, 8) KERNELS(F, 16)
FORMAT(Q4_0)
FORMAT(Q4_K)
FORMAT(Q5_K)
FORMAT(Q6_K)
FORMAT(Q8_0)

#define HEADS(D)                                                                                 \
    extern "C" __global__ __launch_bounds__(128) void attend_##D(Attention p) { attend<D>(p); }  \
    extern "C" __global__ __launch_bounds__(D) void join_##D(Attention p, Activations x,         \
                                                             int chunks) {                       \
        join<D>(p, x, chunks);                                                                   \
    }
HEADS(32)
HEADS(64)
HEADS(128)

// The first norm: embeddings are in `hidden` already. Grid (dim / 256, columns).
extern "C" __global__ __launch_bounds__(256) void begin(Residual to, const State* state) {
    const int column = blockIdx.y, block = blockIdx.x * 8 + threadIdx.x / 32;
    wait_for_kernel_before();
    let_kernel_after_start();
    if (column < state->columns && block < to.dim / 32) add_residual(to, block, column, 0.0f);
}

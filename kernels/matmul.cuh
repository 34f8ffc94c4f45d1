// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A block computes MT tiles of 16 rows; its W warps share their columns: warp w
// takes the chunks w, w + W, ... Two ways to bring the weights: `Direct` by
// 16-byte loads into registers, `Bulk` by the copy engine into a ring in shared
// memory for each warp (sm_90). Weights do not depend on the kernel before, so
// their first chunks are under way before it ends.
#pragma once
#include "chunk.cuh"

// Activations in 8 bits with a scale for each block of 32, in the order of
// operand B: `q[((tile * chunks + chunk) * 4 + pair) * 32 + lane]` with lane 4g + t
// for column 8 tile + g; `d` and `s`, scale and scale times sum,
// `[((tile * chunks + chunk) * 4 + t) * 4 + pair]`: columns 2t and 2t + 1 of the
// first block of the pair, then of the second.
struct Activations {
    uint4* q;
    float4* d;
    float4* s;
};

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

// 16 bytes that are read once.
__device__ inline uint4 stream(const uint8_t* from) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

// The place of the activation at column `column`, position `k`, in bytes of q.
__device__ inline size_t quant_place(int chunks, int column, int k) {
    const int block = k / 32, at = k % 32;
    const size_t chunk = static_cast<size_t>(column / 8) * chunks + block / 8;
    const size_t lane = (chunk * 4 + block % 8 / 2) * 32 + column % 8 * 4 + at % 16 / 4;
    return lane * 16 + block % 2 * 8 + at / 16 * 4 + at % 4;
}

// The place of the scale of `block`, in floats.
__device__ inline size_t scale_place(int chunks, int column, int block) {
    const size_t chunk = static_cast<size_t>(column / 8) * chunks + block / 8;
    return ((chunk * 4 + column % 8 / 2) * 4 + block % 8 / 2) * 4 + block % 2 * 2 + column % 2;
}

// A warp quantizes a block of 32 activations, one a lane.
__device__ inline void quantize_block(const Activations& x, int chunks, int column, int block,
                                      float value) {
    const int lane = threadIdx.x % 32;
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float d = __fdiv_rn(largest, 127.0f);
    const int q = d > 0.0f ? __float2int_rn(__fdiv_rn(value, d)) : 0;
    const int sum = __reduce_add_sync(~0u, q);
    reinterpret_cast<int8_t*>(x.q)[quant_place(chunks, column, block * 32 + lane)] =
        static_cast<int8_t>(q);
    if (lane == 0) {
        reinterpret_cast<float*>(x.d)[scale_place(chunks, column, block)] = d;
        reinterpret_cast<float*>(x.s)[scale_place(chunks, column, block)] =
            __fmul_rn(d, static_cast<float>(sum));
    }
}

template <class F>
__device__ inline Column column(const Activations& x, int tile, int chunks, int chunk, int p,
                                int columns) {
    const int lane = threadIdx.x % 32;
    const size_t at = static_cast<size_t>(tile) * chunks + chunk;
    Column v = {};
    if (tile * 8 + lane / 4 < columns) v.q = x.q[(at * 4 + p) * 32 + lane];
    if (tile * 8 + lane % 4 * 2 < columns) {
        v.d = x.d[(at * 4 + lane % 4) * 4 + p];
        if (F::SUMS) v.s = x.s[(at * 4 + lane % 4) * 4 + p];
    }
    return v;
}

// A chunk's loads in registers, or where they lie in shared memory.
template <class F>
struct Registers {
    uint4 v[F::LOADS];
    __device__ uint4 operator()(int i) const { return v[i]; }
    __device__ void load(const uint8_t* chunk) {
#pragma unroll
        for (int i = 0; i < F::LOADS; i++) v[i] = stream(chunk + F::offset(i, threadIdx.x % 32));
    }
};
template <class F>
struct Shared {
    const uint8_t* chunk;
    __device__ uint4 operator()(int i) const {
        return *reinterpret_cast<const uint4*>(chunk + F::offset(i, threadIdx.x % 32));
    }
};

template <class F, int NC, int MT, class A>
__device__ inline void multiply(float (&acc)[MT][(NC + 7) / 8][4], const A (&a)[MT],
                                const Activations& x, int chunks, int chunk, int columns) {
    constexpr int NT = (NC + 7) / 8;
#pragma unroll
    for (int p = 0; p < 4; p++) {
        Column v[NT];
#pragma unroll
        for (int t = 0; t < NT; t++) v[t] = column<F>(x, t, chunks, chunk, p, columns);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int t = 0; t < NT; t++) F::template pair<NC == 1>(acc[m][t], a[m], p, v[t]);
    }
}

// Columns of a tile lie this far apart in shared memory: no two lanes' banks meet.
constexpr int PITCH = 20;

// Bytes of shared memory that the warps' sums take.
constexpr int sums_bytes(int columns, int warps) {
    return (columns == 1 ? 1 : (columns + 7) / 8 * 8) * PITCH * 4 * warps;
}

// Adds the warps' sums in the warps' order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile, a value for each lane of
// whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <class F, int NC, int MT, int W, class Emit>
__device__ inline void reduce(const float (&acc)[MT][(NC + 7) / 8][4], float* sums, int columns,
                              Emit emit) {
    constexpr int NT = (NC + 7) / 8, C = NC == 1 ? 1 : NT * 8;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        __syncthreads();
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int col = n * 8 + 2 * t + i % 2;
                if (col < C) sums[(warp * C + col) * PITCH + g + i / 2 * 8] = acc[m][n][i];
            }
        __syncthreads();
        for (int o = warp * 32; o < 16 * columns; o += W * 32) {
            const bool valid = o + lane < 16 * columns;
            const int column = valid ? (o + lane) / 16 : 0, row = lane % 16;
            float sum = sums[column * PITCH + row];
#pragma unroll
            for (int w = 1; w < W; w++) sum = __fadd_rn(sum, sums[(w * C + column) * PITCH + row]);
            emit(m, column, row, __fmul_rn(sum, F::SCALE), valid);
        }
    }
}

// Weights by plain loads; AHEAD: the next chunk is loaded before this one is used.
// `prepare` runs after the sums and before `emit`, in all threads.
template <class F, int NC, int MT, int W, bool AHEAD, class Prepare, class Emit>
__device__ inline void direct(const uint8_t* weights, const Activations& x, int chunks, int columns,
                              Prepare prepare, Emit emit) {
    extern __shared__ __align__(128) uint8_t ring[];
    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    const uint8_t* from = weights + blockIdx.x * MT * row_of_chunks;
    Registers<F> now[MT], next[MT];
    const auto load = [&](Registers<F>(&into)[MT], int chunk) {
#pragma unroll
        for (int m = 0; m < MT; m++) into[m].load(from + m * row_of_chunks + chunk * F::BYTES);
    };
    int chunk = threadIdx.x / 32;
    if (chunk < chunks) load(now, chunk);
    wait_for_kernel_before();
    let_kernel_after_start();
    float acc[MT][(NC + 7) / 8][4] = {};
    while (chunk < chunks) {
        const bool more = chunk + W < chunks;
        if (AHEAD && more) load(next, chunk + W);
        multiply<F, NC, MT>(acc, now, x, chunks, chunk, columns);
        chunk += W;
        if (!more) break;
        if (AHEAD) {
#pragma unroll
            for (int m = 0; m < MT; m++) now[m] = next[m];
        } else {
            load(now, chunk);
        }
    }
    prepare();
    reduce<F, NC, MT, W>(acc, reinterpret_cast<float*>(ring), columns, emit);
}

#if __CUDA_ARCH__ >= 900
__device__ inline uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ inline void bulk_copy(uint32_t to, const uint8_t* from, uint32_t bytes, uint32_t barrier,
                                 uint64_t policy) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1], %2, [%3], %4;" ::"r"(to), "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
        : "memory");
}

__device__ inline void wait_barrier(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(barrier), "r"(parity)
        : "memory");
}

// Weights through a ring of S stages for each warp, MT chunks a stage.
template <class F, int NC, int MT, int W, int S, class Prepare, class Emit>
__device__ inline void bulk(const uint8_t* weights, const Activations& x, int chunks, int columns,
                            Prepare prepare, Emit emit) {
    extern __shared__ __align__(128) uint8_t ring[];
    __shared__ __align__(8) uint64_t barriers[W][S];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    const uint8_t* from = weights + blockIdx.x * MT * row_of_chunks;
    uint8_t* own = ring + warp * S * MT * F::BYTES;
    const int steps = chunks > warp ? (chunks - warp + W - 1) / W : 0;
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    const auto fetch = [&](int step) {
        const uint32_t barrier = shared_address(&barriers[warp][step % S]);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                     "r"(MT * F::BYTES)
                     : "memory");
#pragma unroll
        for (int m = 0; m < MT; m++)
            bulk_copy(shared_address(own + (step % S * MT + m) * F::BYTES),
                      from + m * row_of_chunks + static_cast<size_t>(warp + step * W) * F::BYTES,
                      F::BYTES, barrier, policy);
    };
    if (lane == 0) {
        for (int s = 0; s < S; s++)
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(
                             shared_address(&barriers[warp][s]))
                         : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        for (int s = 0; s < S && s < steps; s++) fetch(s);
    }
    __syncwarp();
    wait_for_kernel_before();
    let_kernel_after_start();
    float acc[MT][(NC + 7) / 8][4] = {};
    for (int step = 0; step < steps; step++) {
        wait_barrier(shared_address(&barriers[warp][step % S]), step / S & 1);
        Shared<F> a[MT];
#pragma unroll
        for (int m = 0; m < MT; m++) a[m].chunk = own + (step % S * MT + m) * F::BYTES;
        multiply<F, NC, MT>(acc, a, x, chunks, warp + step * W, columns);
        __syncwarp();
        if (lane == 0 && step + S < steps) fetch(step + S);
    }
    prepare();
    reduce<F, NC, MT, W>(acc, reinterpret_cast<float*>(ring), columns, emit);
}
#endif

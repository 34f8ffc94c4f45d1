// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A block computes MT tiles of 16 rows; its W warps share their columns: warp w
// takes the chunks w, w + W, ... Weights do not depend on the kernel before, so
// their first chunks are under way before it ends. Each element of a result is
// summed in an order that depends on W alone, neither on the columns beside it
// nor on MT: that is why a column's bits do not depend on how many there are.
#pragma once
#include "chunk.cuh"

// Activations are halves in the order of operand B of mma.m16n8k16:
// `x[(tile * blocks + block) * 32 + lane]` with lane 4g + t for column 8 tile + g
// and its elements 4t, 4t + 2, 4t + 1, 4t + 3 of the block of 32, then 16 further.
__device__ inline size_t place(int blocks, int column, int k) {
    const int at = k % 32;
    const size_t block = static_cast<size_t>(column / 8) * blocks + k / 32;
    const size_t lane = block * 32 + column % 8 * 4 + at % 16 / 4;
    return lane * 8 + at / 16 * 4 + at % 2 * 2 + at % 4 / 2;
}

// What is too large for a half becomes the largest one, not infinity.
__device__ inline void store(uint4* x, int blocks, int column, int k, float value) {
    reinterpret_cast<__half*>(x)[place(blocks, column, k)] =
        __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

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

__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A lane's loads of a chunk, in registers.
template <class F>
struct Registers {
    uint4 v[F::LOADS];
    __device__ uint4 operator()(int i) const { return v[i]; }
    __device__ void load(const uint8_t* chunk) {
#pragma unroll
        for (int i = 0; i < F::LOADS; i++) v[i] = stream(chunk + F::offset(i, threadIdx.x % 32));
    }
};

// Adds the products of one chunk. Columns past the last are zeros.
template <class F, int NT, int MT>
__device__ inline void multiply(float (&acc)[MT][NT][4], const Registers<F> (&a)[MT], const uint4* x,
                                int chunks, int chunk, int columns) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < 8; b++) {
        uint4 v[NT];
#pragma unroll
        for (int t = 0; t < NT; t++) {
            v[t] = make_uint4(0, 0, 0, 0);
            if (t * 8 + lane / 4 < columns)
                v[t] = x[(static_cast<size_t>(t) * chunks * 8 + chunk * 8 + b) * 32 + lane];
        }
#pragma unroll
        for (int m = 0; m < MT; m++) {
            Fragments f;
            F::fragments(f, a[m], b / 2, b % 2);
#pragma unroll
            for (int t = 0; t < NT; t++) {
                mma(acc[m][t], f[0], v[t].x, v[t].y);
                mma(acc[m][t], f[1], v[t].z, v[t].w);
            }
        }
    }
}

// Columns of a tile lie this far apart in shared memory: no two lanes' banks meet.
constexpr int PITCH = 20;

// Bytes of shared memory that the warps' sums take.
constexpr int sums_bytes(int columns, int warps) { return columns * PITCH * 4 * warps; }

// Adds the warps' sums in the warps' order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile, a value for each lane of
// whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <int NT, int MT, int W, class Emit>
__device__ inline void reduce(const float (&acc)[MT][NT][4], float* sums, int columns, Emit emit) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        __syncthreads();
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sums[(warp * NT * 8 + n * 8 + 2 * t + i % 2) * PITCH + g + i / 2 * 8] = acc[m][n][i];
        __syncthreads();
        for (int o = warp * 32; o < 16 * columns; o += W * 32) {
            const bool valid = o + lane < 16 * columns;
            const int column = valid ? (o + lane) / 16 : 0, row = lane % 16;
            float sum = sums[column * PITCH + row];
#pragma unroll
            for (int w = 1; w < W; w++) sum += sums[(w * NT * 8 + column) * PITCH + row];
            emit(m, column, row, sum, valid);
        }
    }
}

// Weights by plain loads, a chunk of each tile at a time for each warp; other warps
// have theirs under way meanwhile. NT is the number of tiles of 8 columns.
// `prepare` runs after the sums and before `emit`, in all threads.
template <class F, int NT, int MT, int W, class Prepare, class Emit>
__device__ inline void direct(const uint8_t* weights, const uint4* x, int chunks, int columns,
                              Prepare prepare, Emit emit) {
    extern __shared__ __align__(128) uint8_t ring[];
    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    const uint8_t* from = weights + blockIdx.x * MT * row_of_chunks;
    Registers<F> a[MT];
    const auto load = [&](int chunk) {
#pragma unroll
        for (int m = 0; m < MT; m++) a[m].load(from + m * row_of_chunks + chunk * F::BYTES);
    };
    int chunk = threadIdx.x / 32;
    if (chunk < chunks) load(chunk);
    wait_for_kernel_before();
    let_kernel_after_start();
    float acc[MT][NT][4] = {};
    while (chunk < chunks) {
        multiply<F, NT, MT>(acc, a, x, chunks, chunk, columns);
        chunk += W;
        if (chunk < chunks) load(chunk);
    }
    prepare();
    reduce<NT, MT, W>(acc, reinterpret_cast<float*>(ring), columns, emit);
}

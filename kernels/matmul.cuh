// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A block computes RW groups of MT tiles of 16 rows. Each group has W warps that
// share its columns: warp w takes the chunks w, w + W, ..., and the groups read the
// same activations at about the same time. Weights do not depend on the kernel
// before, so their first chunks are under way before it ends. Each element of a
// result is summed in an order that depends on W alone, neither on the columns beside
// it nor on MT and RW: that is why a column's bits do not depend on how many there are.
//
// Quants are multiplied as they are, exact; a block of 32 columns is summed in f32 by
// the tensor cores, what its quants are above their zero is taken off by a product
// with a constant, and then the sum is scaled.
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

// 16 bytes that are read once, if they are there; else `v` stays.
__device__ inline void stream(uint4& v, const uint8_t* from, bool there) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %5, 0;\n"
                 "@p ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];}"
                 : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
                 : "l"(from), "r"(static_cast<uint32_t>(there)));
}

// d = a * b + c, for 16 rows, 8 columns and 16 terms.
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                           const float (&c)[4]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
}

__device__ inline void mma(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    mma(sum, a, b0, b1, sum);
}

// A lane's loads of a chunk, in registers, and where it has them from.
template <class F>
struct Registers {
    uint4 v[F::LOADS];
    const uint8_t* from[F::ARRAYS];
    __device__ uint4 operator()(int i) const { return v[i]; }
    __device__ void start(const uint8_t* chunk) {
#pragma unroll
        for (int i = 0; i < F::ARRAYS; i++) from[i] = chunk + F::own(i, threadIdx.x % 32);
    }
    __device__ void advance(int bytes) {
#pragma unroll
        for (int i = 0; i < F::ARRAYS; i++) from[i] += bytes;
    }
    // Those that no pair of blocks after `p` needs; all, if `p` is negative.
    __device__ void load(int p, bool there) {
#pragma unroll
        for (int i = 0; i < F::LOADS; i++)
            if (p < 0 || F::until(i) == p) stream(v[i], from[F::array(i)] + F::offset(i), there);
    }
};

// An operand A whose elements are all the same. Its four registers are loaded with
// what the compiler cannot know to be equal, or it would copy one of them into four
// in a row at each use.
struct Constant {
    uint32_t bits[4];
    __device__ Constant(uint32_t half, int chunks, int columns)
        : bits{half * 0x00010001 + (chunks >> 31), half * 0x00010001 + (chunks >> 30),
               half * 0x00010001 + (columns >> 31), half * 0x00010001 + (columns >> 30)} {}
};

// Adds the products of the block 2p + e, in units of SMALLEST. Products of `constant`
// are the columns' sums times -ZERO, or times 1 for the minimum.
template <class F, int NT, int MT>
__device__ inline void multiply(float (&acc)[MT][NT][4], const Registers<F> (&a)[MT],
                                const uint4 (&v)[NT], const uint32_t (&constant)[4], int p,
                                int e) {
    float zeros[4] = {};
    float sums[NT][F::PARTS][4];
#pragma unroll
    for (int t = 0; t < NT; t++) {
        mma(sums[t][0], constant, v[t].x, v[t].y, zeros);
        mma(sums[t][F::PARTS - 1], constant, v[t].z, v[t].w, F::PARTS == 1 ? sums[t][0] : zeros);
        if (!F::MINIMUM && F::unit(e) > 1)
#pragma unroll
            for (int i = 0; i < F::PARTS * 4; i++) sums[t][i / 4][i % 4] *= F::unit(e);
    }
#pragma unroll
    for (int m = 0; m < MT; m++) {
        Fragments f;
        Scales s;
        F::quants(f, a[m], p, e);
        F::scales(s, a[m], p, e);
#pragma unroll
        for (int t = 0; t < NT; t++) {
            float product[2][4];
            mma(product[0], f[0], v[t].x, v[t].y, F::MINIMUM ? zeros : sums[t][0]);
            mma(product[1], f[1], v[t].z, v[t].w, F::PARTS == 1 ? product[0] : sums[t][1]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float& sum = acc[m][t][i];
                if (F::PARTS == 2) sum = fmaf(s.d[i / 2][0], product[0][i], sum);
                sum = fmaf(s.d[i / 2][F::PARTS - 1], product[1][i], sum);
                if (F::MINIMUM) sum = fmaf(-s.m[i / 2], sums[t][0][i], sum);
            }
        }
    }
}

// Columns of a tile lie this far apart in shared memory: no two lanes' banks meet.
constexpr int PITCH = 20;

// Bytes of shared memory that the sums of so many warps take.
constexpr int sums_bytes(int columns, int warps) { return columns * PITCH * 4 * warps; }

// Adds the warps' sums in the warps' order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile of the block, a value for each
// lane of whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <int NT, int MT, int RW, int W, class Emit>
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
        for (int o = warp * 32; o < RW * 16 * columns; o += RW * W * 32) {
            const int at = min((o + lane) / 16, RW * columns - 1), row = lane % 16;
            const int group = RW == 1 ? 0 : at / columns, column = at - group * columns;
            const float* from = sums + (group * W * NT * 8 + column) * PITCH + row;
            float sum = from[0];
#pragma unroll
            for (int w = 1; w < W; w++) sum += from[w * NT * 8 * PITCH];
            emit(group * MT + m, column, row, sum / SMALLEST, o + lane < RW * 16 * columns);
        }
    }
}

// Weights by plain loads, a chunk of each tile for each warp, each replaced by the
// next chunk's as it is used up. NT is the number of tiles of 8 columns; lanes of
// columns past the last multiply the last one's elements. `prepare` runs after the
// products and before `emit`, in all threads.
template <class F, int NT, int MT, int RW, int W, class Prepare, class Emit>
__device__ inline void direct(const uint8_t* weights, const uint4* x, int chunks, int columns,
                              Prepare prepare, Emit emit) {
    extern __shared__ __align__(128) uint8_t ring[];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    int chunk = warp % W;
    const uint8_t* from = weights + (blockIdx.x * RW + warp / W) * MT * row_of_chunks +
                          static_cast<size_t>(chunk) * F::BYTES;
    const uint4* columns_from[NT];
#pragma unroll
    for (int t = 0; t < NT; t++) {
        const int column = min(t * 8 + lane / 4, columns - 1);
        columns_from[t] =
            x + (column / 8 * chunks + chunk) * 8 * 32 + column % 8 * 4 + lane % 4;
    }
    Registers<F> a[MT];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        a[m].start(from + m * row_of_chunks);
        a[m].load(-1, chunk < chunks);
    }
    wait_for_kernel_before();
    let_kernel_after_start();
    const Constant constant(F::MINIMUM ? 1 : 0x8000 | F::ZERO, chunks, columns);
    float acc[MT][NT][4] = {};
    uint4 next[NT];
    if (chunk < chunks)
#pragma unroll
        for (int t = 0; t < NT; t++) next[t] = *columns_from[t];
    while (chunk < chunks) {
        chunk += W;
        // The last round reads its first block again.
        const int on = chunk < chunks ? W * 8 * 32 : 0;
#pragma unroll
        for (int m = 0; m < MT; m++) a[m].advance(W * F::BYTES);
#pragma unroll
        for (int b = 0; b < 8; b++) {
            uint4 v[NT];
#pragma unroll
            for (int t = 0; t < NT; t++) {
                v[t] = next[t];
                if (b == 7) columns_from[t] += on;
                next[t] = columns_from[t][(b + 1) % 8 * 32];
            }
            multiply<F, NT, MT>(acc, a, v, constant.bits, b / 2, b % 2);
            if (b % 2 == 1)
#pragma unroll
                for (int m = 0; m < MT; m++) a[m].load(b / 2, chunk < chunks);
        }
    }
    prepare();
    reduce<NT, MT, RW, W>(acc, reinterpret_cast<float*>(ring), columns, emit);
}

// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A set of rows is RW groups of MT tiles of 16. A block takes the sets blockIdx.x,
// blockIdx.x + gridDim.x, ... Each group has W warps that share its columns: warp w
// takes the chunks w, w + W, ..., and the groups read the same activations at about
// the same time. The next chunk's weights, of the next set too, are under way while
// one is multiplied, the first ones before the kernel before ends, as they do not
// depend on it. Each element of a result is summed in an order that depends on W alone,
// neither on the columns beside it nor on MT and RW: that is why a column's bits do not
// depend on how many there are.
//
// Activations are integers of 16 bits with a scale for each block of 32, as two bytes
// with a sign: x = 256 high + low. The two are neighbouring columns of operand B, so a
// product with 8 columns is one of 4 activations, and a block's sum is exact.
#pragma once
#include "chunk.cuh"

// Quants and scales of `(columns, k)`. `q[(tile * pairs + pair) * 32 + lane]` is in the
// order of operand B of mma.m16n8k32, for a pair of blocks: lane 4g + t has, of column
// 4 tile + g / 2, the high bytes or, where g is odd, the low ones of 4t..4t+3 and
// 16+4t.. of the even block, then of the odd one. `d[(tile * pairs + pair) * 4 + t]` are
// the scales of column 4 tile + t in both blocks; `s` those times the sums of integers.
struct Activations {
    uint4* q;
    float2* d;
    float2* s;
};

// The largest integer whose high byte, rounded so that the low one has a sign, is 127.
constexpr float MOST = 32639.0f;

// A warp quantizes a block of 32 activations, one a lane.
__device__ inline void quantize_block(const Activations& x, int chunks, int column, int block,
                                      float value) {
    const int lane = threadIdx.x % 32;
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float d = largest / MOST;
    const int q = d > 0.0f ? __float2int_rn(value / d) : 0;
    const int sum = __reduce_add_sync(~0u, q);
    const size_t pair = static_cast<size_t>(column / 4) * chunks * 4 + block / 2;
    const size_t at = (pair * 32 + column % 4 * 8 + lane % 16 / 4) * 16 + block % 2 * 8 +
                      lane / 16 * 4 + lane % 4;
    int8_t* bytes = reinterpret_cast<int8_t*>(x.q) + at;
    const int8_t low = static_cast<int8_t>(q);
    bytes[0] = static_cast<int8_t>((q - low) / 256);
    bytes[4 * 16] = low;
    if (lane == 0) {
        const size_t scale = (pair * 4 + column % 4) * 2 + block % 2;
        reinterpret_cast<float*>(x.d)[scale] = d;
        reinterpret_cast<float*>(x.s)[scale] = d * static_cast<float>(sum);
    }
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

// c = a * b for 16 rows, 8 columns and 32 terms.
template <bool SIGNED>
__device__ inline void mma_k32(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    if constexpr (SIGNED)
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%10,%10,%10,%10};"
            : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
    else
        asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%10,%10,%10,%10};"
            : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
}

// Of bytes with a sign, 16 terms.
__device__ inline void mma_k16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%7,%7,%7,%7};"
        : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
        : "r"(a0), "r"(a1), "r"(b0), "r"(0));
}

// 16 bytes into shared memory.
__device__ inline void copy_async(void* to, const void* from) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

__device__ inline void end_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all copies but those of the last OPEN groups.
template <int OPEN>
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
}

// A chunk in shared memory.
template <class F>
struct Shared {
    const uint8_t* chunk;
    __device__ uint4 operator()(int i) const {
        const int own = F::own(F::array(i), threadIdx.x % 32);
        return *reinterpret_cast<const uint4*>(chunk + F::offset(i) + own);
    }
};

// What a lane needs of a pair of blocks of 4 columns.
template <class F>
struct Columns {
    uint4 q;
    float2 d, s;
    __device__ void load(const uint4* of_q, const float2* of_d, const float2* of_s) {
        q = *of_q;
        d = *of_d;
        if (F::MINIMUM) s = *of_s;
    }
};

// Adds the products of the block 2p + e: a lane has rows g and g + 8 of column t.
template <class F, int NT, int MT>
__device__ inline void multiply(float (&acc)[MT][NT][2], const Shared<F> (&a)[MT],
                                const Columns<F> (&x)[NT], int p, int e) {
#pragma unroll
    for (int m = 0; m < MT; m++) {
        uint32_t w[4];
        Scales s;
        F::bytes(w, a[m], p, e);
        F::scales(s, a[m], p, e);
#pragma unroll
        for (int t = 0; t < NT; t++) {
            const uint32_t b[2] = {e ? x[t].q.z : x[t].q.x, e ? x[t].q.w : x[t].q.y};
            const float d = e ? x[t].d.y : x[t].d.x;
            int c[F::PARTS][4];
            if constexpr (F::PARTS == 1) {
                mma_k32<F::SIGNED>(c[0], w, b[0], b[1]);
            } else {
                mma_k16(c[0], w[0], w[1], b[0]);
                mma_k16(c[1], w[2], w[3], b[1]);
            }
#pragma unroll
            for (int row = 0; row < 2; row++) {
                float& sum = acc[m][t][row];
#pragma unroll
                for (int i = 0; i < F::PARTS; i++) {
                    const int whole = c[i][2 * row] * 256 + c[i][2 * row + 1];
                    sum = fmaf(s.d[row][i] * d, static_cast<float>(whole), sum);
                }
                if (F::MINIMUM) sum = fmaf(-s.m[row], e ? x[t].s.y : x[t].s.x, sum);
            }
        }
    }
}

// Columns lie this far apart in shared memory: no two lanes' banks meet.
constexpr int PITCH = 24;

// Tiles of each group whose sums are put together at once.
constexpr int together(int tiles_of_columns, int mt) { return tiles_of_columns == 1 ? mt : 1; }

// Bytes of shared memory that the sums take, of W warps in RW groups.
constexpr int sums_bytes(int nt, int mt, int rw, int w) {
    return nt * 4 * together(nt, mt) * rw * w * PITCH * 4;
}

// Adds the warps' sums in their order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile of the set, a value for each
// lane of whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <int NT, int MT, int RW, int W, class Emit>
__device__ inline void reduce(const float (&acc)[MT][NT][2], float* sums, int columns, Emit emit) {
    constexpr int M = together(NT, MT), C = NT * 4;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int group = warp / W, w = warp % W;
#pragma unroll
    for (int first = 0; first < MT; first += M) {
        __syncthreads();
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    sums[(((group * M + m) * W + w) * C + n * 4 + t) * PITCH + g + i * 8] =
                        acc[first + m][n][i];
        __syncthreads();
        for (int o = warp * 32; o < RW * M * 16 * columns; o += RW * W * 32) {
            const int at = min((o + lane) / 16, RW * M * columns - 1), row = lane % 16;
            const int tile = RW * M == 1 ? 0 : at / columns, column = at - tile * columns;
            const float* from = sums + (tile * W * C + column) * PITCH + row;
            float sum = from[0];
#pragma unroll
            for (int i = 1; i < W; i++) sum += from[i * C * PITCH];
            emit(tile / M * MT + first + tile % M, column, row, sum, o + lane < RW * M * 16 * columns);
        }
    }
}

// Bytes of shared memory of a block with R stages for each warp.
template <class F>
constexpr int direct_bytes(int nt, int mt, int rw, int w, int r) {
    return rw * w * r * mt * F::BYTES + sums_bytes(nt, mt, rw, w);
}

// NT is the number of tiles of 4 columns; lanes of columns past the last multiply the
// last one's. `prepare` runs once, after the first set's products and before any
// `emit`, in all threads; `finish(set)` after those of a set.
template <class F, int NT, int MT, int RW, int W, int R, class Prepare, class Emit, class Finish>
__device__ inline void direct(const uint8_t* weights, const Activations& x, int chunks, int sets,
                              int columns, Prepare prepare, Emit emit, Finish finish) {
    extern __shared__ __align__(128) uint8_t ring[];
    constexpr int STAGE = MT * F::BYTES;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first = warp % W, steps = (chunks - first + W - 1) / W;
    const int block = blockIdx.x, grid = gridDim.x;
    int set = static_cast<int>(static_cast<int64_t>(block) * sets / grid);
    const int end = static_cast<int>(static_cast<int64_t>(block + 1) * sets / grid);
    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    const size_t set_of_chunks = RW * MT * row_of_chunks;
    // From the last chunk of a set to the first of the next.
    const int64_t turn = static_cast<int64_t>(set_of_chunks) -
                         static_cast<int64_t>(steps - 1) * W * F::BYTES;
    uint8_t* own = ring + warp * R * STAGE;
    float* sums = reinterpret_cast<float*>(ring + RW * W * R * STAGE);
    const uint8_t* from = weights + set * set_of_chunks + warp / W * MT * row_of_chunks +
                          static_cast<size_t>(first) * F::BYTES + lane * 16;
    // Chunks that are still to be fetched, and the step of the next one in its set.
    int left = steps > 0 ? (end - set) * steps : 0, fetched = 0;
    const auto fetch = [&](int stage) {
        if (left > 0) {
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < F::BYTES; i += 512)
                    if (i + 512 <= F::BYTES || i + lane * 16 < F::BYTES)
                        copy_async(own + stage * STAGE + m * F::BYTES + i + lane * 16,
                                   from + m * row_of_chunks + i);
            left--;
            const bool last = ++fetched == steps;
            from += last ? turn : W * F::BYTES;
            if (last) fetched = 0;
        }
        end_of_copies();
    };
#pragma unroll
    for (int i = 0; i < R; i++) fetch(i);
    const uint4* q_first[NT];
    const float2 *d_first[NT], *s_first[NT];
#pragma unroll
    for (int t = 0; t < NT; t++) {
        const int q = min(t * 4 + lane / 8, columns - 1), d = min(t * 4 + lane % 4, columns - 1);
        q_first[t] = x.q + (q / 4 * chunks + first) * 128 + q % 4 * 8 + lane / 4 % 2 * 4 + lane % 4;
        const int scale = (d / 4 * chunks + first) * 16 + d % 4;
        d_first[t] = x.d + scale;
        s_first[t] = x.s + scale;
    }
    wait_for_kernel_before();
    let_kernel_after_start();
    Columns<F> next[NT];
    if (steps > 0)
#pragma unroll
        for (int t = 0; t < NT; t++) next[t].load(q_first[t], d_first[t], s_first[t]);
    int stage = 0;
    for (bool begun = false; set < end; set++, begun = true) {
        float acc[MT][NT][2] = {};
        int at = 0;
        for (int step = 0; step < steps; step++) {
            const int after = step + 1 == steps ? 0 : at + W;
            wait_for_copies<R - 1>();
            __syncwarp();
            Shared<F> a[MT];
#pragma unroll
            for (int m = 0; m < MT; m++) a[m].chunk = own + stage * STAGE + m * F::BYTES;
#pragma unroll
            for (int p = 0; p < 4; p++) {
                Columns<F> v[NT];
                const int pair = p < 3 ? at * 4 + p + 1 : after * 4;
#pragma unroll
                for (int t = 0; t < NT; t++) {
                    v[t] = next[t];
                    next[t].load(q_first[t] + pair * 32, d_first[t] + pair * 4, s_first[t] + pair * 4);
                }
                multiply<F, NT, MT>(acc, a, v, p, 0);
                multiply<F, NT, MT>(acc, a, v, p, 1);
            }
            __syncwarp();
            fetch(stage);
            at = after;
            stage = stage == R - 1 ? 0 : stage + 1;
        }
        if (!begun) prepare();
        reduce<NT, MT, RW, W>(acc, sums, columns,
                              [&](int tile, int column, int row, float sum, bool valid) {
                                  emit(set * RW * MT + tile, column, row, sum, valid);
                              });
        finish(set);
    }
}

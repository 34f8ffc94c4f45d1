// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A set of rows is RW groups of MT tiles of 16. A block takes neighbouring sets, all of
// its share. Each group has W warps that share its columns: warp w takes the chunks w,
// w + W, ... The RW warps with the same w are a team: they have copies of the same
// activations. All that a team multiplies is copied to shared memory ahead, R chunks of
// each warp's weights and X pairs of blocks of the activations, the next set's too.
// Weights do not depend on the kernel before, so the first ones are under way before it
// ends. Each element of a result is summed in an order that depends on W alone, neither
// on the columns beside it nor on MT and RW: that is why a column's bits do not depend
// on how many there are.
//
// Activations are integers of 16 bits with a scale for each block of 32, as two bytes
// with a sign: x = 256 high + low. The two are neighbouring columns of operand B, so a
// product with 8 columns is one of 4 activations, and a block's sum is exact.
#pragma once
#include "chunk.cuh"

// Activations `(columns, k)`: a record for each 4 columns and pair of blocks,
// `[column / 4][k / 64]`. It has 32 x 16 bytes in the order of operand B of
// mma.m16n8k32: lane 4g + t has, of column g / 2, the high bytes or, where g is odd, the
// low ones of 4t..4t+3 and 16+4t.. of the even block, then of the odd one. Then come
// `float d[4][2]`, scales of the 4 columns in both blocks, and `float s[4][2]`, those
// times the sums of integers.
constexpr int RECORD = 576, SCALES_AT = 512, SUMS_AT = 544;

// The largest integer whose high byte, rounded so that the low one has a sign, is 127.
constexpr float MOST = 32639.0f;

// A warp quantizes a block of 32 activations, one a lane.
__device__ inline void quantize_block(uint8_t* x, int chunks, int column, int block, float value) {
    const int lane = threadIdx.x % 32;
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float d = largest / MOST;
    const int q = d > 0.0f ? __float2int_rn(value / d) : 0;
    const int sum = __reduce_add_sync(~0u, q);
    uint8_t* record = x + (static_cast<size_t>(column / 4) * chunks * 4 + block / 2) * RECORD;
    uint8_t* bytes = record + (column % 4 * 8 + lane % 16 / 4) * 16 + block % 2 * 8 + lane / 16 * 4 +
                     lane % 4;
    const int low = static_cast<int8_t>(q);
    bytes[0] = static_cast<uint8_t>((q - low) / 256);
    bytes[4 * 16] = static_cast<uint8_t>(low);
    if (lane == 0) {
        const int at = column % 4 * 2 + block % 2;
        reinterpret_cast<float*>(record + SCALES_AT)[at] = d;
        reinterpret_cast<float*>(record + SUMS_AT)[at] = d * static_cast<float>(sum);
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
    __device__ Columns(const uint8_t* record) {
        const int lane = threadIdx.x % 32;
        q = *reinterpret_cast<const uint4*>(record + lane * 16);
        d = *reinterpret_cast<const float2*>(record + SCALES_AT + lane % 4 * 8);
        if (F::MINIMUM) s = *reinterpret_cast<const float2*>(record + SUMS_AT + lane % 4 * 8);
    }
};

// Adds the products of the block 2p + e with 4 columns: a lane has rows g and g + 8 of
// column t.
template <class F>
__device__ inline void multiply(float (&acc)[2], const uint32_t (&w)[4], const Scales& s,
                                const Columns<F>& x, int e) {
    const uint32_t b[2] = {e ? x.q.z : x.q.x, e ? x.q.w : x.q.y};
    int c[F::PARTS][4];
    if constexpr (F::PARTS == 1) {
        mma_k32<F::SIGNED>(c[0], w, b[0], b[1]);
    } else {
        mma_k16(c[0], w[0], w[1], b[0]);
        mma_k16(c[1], w[2], w[3], b[1]);
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
#pragma unroll
        for (int i = 0; i < F::PARTS; i++) {
            const int whole = c[i][2 * row] * 256 + c[i][2 * row + 1];
            acc[row] = fmaf(s.d[row][i] * (e ? x.d.y : x.d.x), static_cast<float>(whole), acc[row]);
        }
        if (F::MINIMUM) acc[row] = fmaf(-s.m[row], e ? x.s.y : x.s.x, acc[row]);
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

// The warps of a team wait for each other.
template <int RW>
__device__ inline void wait_for_team(int w) {
    if (RW == 1)
        __syncwarp();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(w + 1), "n"(RW * 32) : "memory");
}

// Bytes of shared memory of a block.
template <class F>
constexpr int direct_bytes(int nt, int mt, int rw, int w, int r, int x) {
    return w * (rw * r * mt * F::BYTES + x * nt * RECORD) + sums_bytes(nt, mt, rw, w);
}

// NT is the number of tiles of 4 columns; those past the last are not copied, and what
// comes of them is not emitted. `prepare(set)` runs after a set's products
// and before any `emit`, in all threads; `finish(set)` after those of a set.
template <class F, int NT, int MT, int RW, int W, int R, int X, class Prepare, class Emit,
          class Finish>
__device__ inline void direct(const uint8_t* weights, const uint8_t* x, int chunks, int sets,
                              int columns, Prepare prepare, Emit emit, Finish finish) {
    extern __shared__ __align__(128) uint8_t ring[];
    constexpr int STAGE = MT * F::BYTES, TEAM = RW * R * STAGE + X * NT * RECORD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp / W;
    const int first = warp % W, steps = (chunks - first + W - 1) / W;
    const int block = blockIdx.x, grid = gridDim.x;
    int set = static_cast<int>(static_cast<int64_t>(block) * sets / grid);
    const int end = static_cast<int>(static_cast<int64_t>(block + 1) * sets / grid);
    float* sums = reinterpret_cast<float*>(ring + W * TEAM);
    uint8_t* shared_x = ring + first * TEAM;
    uint8_t* own = shared_x + X * NT * RECORD + group * R * STAGE;

    const size_t row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
    const size_t set_of_chunks = RW * MT * row_of_chunks;
    // From the last chunk of a set to the first of the next.
    const int64_t turn = static_cast<int64_t>(set_of_chunks) -
                         static_cast<int64_t>(steps - 1) * W * F::BYTES;
    const uint8_t* from = weights + set * set_of_chunks + group * MT * row_of_chunks +
                          static_cast<size_t>(first) * F::BYTES + lane * 16;
    // Chunks that are still to be fetched, and the step of the next one in its set.
    int left = steps > 0 ? (end - set) * steps : 0, fetched = 0;
    const auto fetch_weights = [&](int stage) {
        if (left == 0) return;
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
    };
    // Of each record what the format needs, 16 bytes a thread.
    constexpr int PIECES = (F::MINIMUM ? RECORD : SUMS_AT) / 16;
    constexpr int COPIES = (NT * PIECES + RW * 32 - 1) / (RW * 32);
    uint32_t copy_from[COPIES], copy_to[COPIES];
    bool copies[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        const int at = (i * RW + group) * 32 + lane, tile = at / PIECES, piece = at % PIECES;
        copies[i] = tile < NT && tile * 4 + (piece < 32 ? piece / 8 : 0) < columns;
        copy_from[i] = (tile * chunks + first) * 4 * RECORD + piece * 16;
        copy_to[i] = tile * RECORD + piece * 16;
    }
    const auto fetch_x = [&](int slot, int pair) {
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            if (copies[i])
                copy_async(shared_x + slot * NT * RECORD + copy_to[i],
                           x + copy_from[i] + pair * RECORD);
        end_of_copies();
    };
#pragma unroll
    for (int i = 0; i < R; i++) fetch_weights(i);
    wait_for_kernel_before();
    let_kernel_after_start();
    // Pairs are counted from the team's first chunk on; the next team's lie between.
    int ahead = 0, ahead_step = 0;
    const auto fetch_next_x = [&](int slot) {
        fetch_x(slot, ahead);
        ahead++;
        if (ahead % 4 == 0) {
            ahead += (W - 1) * 4;
            if (++ahead_step == steps) ahead = ahead_step = 0;
        }
    };
    if (steps > 0)
#pragma unroll
        for (int i = 0; i < X - 1; i++) fetch_next_x(i);
    int stage = 0, slot = 0;
    bool begun = false;
    for (; set < end; set++) {
        float acc[MT][NT][2] = {};
        for (int step = 0; step < steps; step++) {
#pragma unroll
            for (int p = 0; p < 4; p++) {
                // This pair's copies are there for all, and nobody reads the last one's.
                wait_for_copies<X - 2>();
                wait_for_team<RW>(first);
                if (p == 0 && begun) fetch_weights(stage == 0 ? R - 1 : stage - 1);
                begun = true;
                fetch_next_x(slot == 0 ? X - 1 : slot - 1);
                const uint8_t* records = shared_x + slot * NT * RECORD;
                const uint8_t* chunk = own + stage * STAGE;
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    uint32_t w[MT][4];
                    Scales s[MT];
#pragma unroll
                    for (int m = 0; m < MT; m++) {
                        const Shared<F> a = {chunk + m * F::BYTES};
                        F::bytes(w[m], a, p, e);
                        F::scales(s[m], a, p, e);
                    }
#pragma unroll
                    for (int t = 0; t < NT; t++) {
                        const Columns<F> v(records + t * RECORD);
#pragma unroll
                        for (int m = 0; m < MT; m++) multiply<F>(acc[m][t], w[m], s[m], v, e);
                    }
                }
                slot = slot == X - 1 ? 0 : slot + 1;
            }
            stage = stage == R - 1 ? 0 : stage + 1;
        }
        prepare(set);
        reduce<NT, MT, RW, W>(acc, sums, columns,
                              [&](int tile, int column, int row, float sum, bool valid) {
                                  emit(set * RW * MT + tile, column, row, sum * F::SCALE, valid);
                              });
        finish(set);
    }
}

// Products of a quantized matrix with 1 to 16 columns of activations.
//
// A set of rows is RW groups of MT tiles of 16. A block takes neighbouring sets, its
// share of all. Each group has W warps that share its columns: warp w takes the chunks w,
// w + W, ... The RW warps with the same w are a team: they share copies of the same
// activations. All that is multiplied is copied to shared memory ahead, R chunks of each
// warp's weights and X pairs of blocks of each team's activations, the next set's too.
// Weights do not depend on the kernel before, so the first ones are under way before it
// ends.
//
// An activation's two bytes are neighbouring columns of operand B, so that a product with
// 8 columns is one of 4 activations. A block's sum is exact; each element of a result is
// summed in an order that depends on W alone, neither on the columns beside it nor on MT
// and RW: that is why a column's bits do not depend on how many there are.
#pragma once
#include "copies.cuh"
#include "mma.cuh"

// Adds the products of the block 2p + e of MT tiles of rows with NT tiles of 4 columns: a
// lane has rows g and g + 8 of column t.
template <class F, int NT, int MT>
__device__ inline void multiply(float (&acc)[MT][NT][2], const Shared<F> (&a)[MT],
                                const uint8_t* slot, int p, int e) {
    constexpr int PITCH = F::MINIMUM ? RECORD : SUMS_AT;
    const int lane = threadIdx.x % 32;
    Bytes w[MT];
    Scales s[MT];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        F::bytes(w[m], a[m], p, e);
        F::scales(s[m], a[m], p, e, F::byte_unit(e));
    }
#pragma unroll
    for (int t = 0; t < NT; t++) {
        const uint8_t* record = slot + t * PITCH;
        const uint4 q = *reinterpret_cast<const uint4*>(record + lane * 16);
        const uint32_t b[2] = {e ? q.z : q.x, e ? q.w : q.y};
        const uint8_t* own = record + SCALES_AT + lane % 4 * 8;
        const float2 both = *reinterpret_cast<const float2*>(own);
        const float d = e ? both.y : both.x;
        float2 sums;
        if (F::MINIMUM) sums = *reinterpret_cast<const float2*>(own + SUMS_AT - SCALES_AT);
#pragma unroll
        for (int m = 0; m < MT; m++) {
            int c[F::PARTS][4];
            if constexpr (F::PARTS == 1) {
                multiply_bytes<!F::MINIMUM>(c[0], w[m], b[0], b[1]);
            } else {
                multiply_bytes(c[0], w[m][0], w[m][1], b[0]);
                multiply_bytes(c[1], w[m][2], w[m][3], b[1]);
            }
#pragma unroll
            for (int row = 0; row < 2; row++) {
                float& sum = acc[m][t][row];
#pragma unroll
                for (int i = 0; i < F::PARTS; i++) {
                    const int whole = c[i][2 * row] * 256 + c[i][2 * row + 1];
                    sum = fmaf(s[m].d[row][i] * d, static_cast<float>(whole), sum);
                }
                if (F::MINIMUM) sum = fmaf(-s[m].m[row], e ? sums.y : sums.x, sum);
            }
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

// Columns lie this far apart in shared memory: no two lanes' banks meet.
constexpr int PITCH = 24;

// Tiles of each group whose sums are put together at once.
constexpr int at_once(int nt, int mt) { return nt == 1 ? mt : 1; }

// Bytes of shared memory that their sums take.
constexpr int sums_bytes(int nt, int mt, int rw, int w) {
    return nt * 4 * at_once(nt, mt) * rw * w * PITCH * 4;
}

// Adds the warps' sums in their order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile of the set, a value for each
// lane of whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <int NT, int MT, int RW, int W, class Emit>
__device__ inline void reduce(const float (&acc)[MT][NT][2], float* sums, int columns, Emit emit) {
    constexpr int ALL = NT * 4 * PITCH, M = at_once(NT, MT);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int first = 0; first < MT; first += M) {
        __syncthreads();
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    sums[((warp / W * M + m) * W + warp % W) * ALL + (n * 4 + t) * PITCH + g + i * 8] =
                        acc[first + m][n][i];
        __syncthreads();
        for (int o = warp * 32; o < RW * M * 16 * columns; o += RW * W * 32) {
            const int at = min((o + lane) / 16, RW * M * columns - 1), row = lane % 16;
            const int tile = RW * M == 1 ? 0 : at / columns, column = at - tile * columns;
            const float* from = sums + tile * W * ALL + column * PITCH + row;
            float sum = from[0];
#pragma unroll
            for (int w = 1; w < W; w++) sum += from[w * ALL];
            emit(tile / M * MT + first + tile % M, column, row, sum, o + lane < RW * M * 16 * columns);
        }
    }
}

// Bytes of shared memory of a block.
template <class F>
constexpr int direct_bytes(int nt, int mt, int rw, int w, int r, int x) {
    const int record = F::MINIMUM ? RECORD : SUMS_AT;
    return w * (rw * r * mt * F::BYTES + x * nt * record) + sums_bytes(nt, mt, rw, w);
}

// NT is the number of tiles of 4 columns; what comes of columns past the last is not
// emitted. `prepare` runs in all threads before the products, `finish(set)` after what is
// emitted of a set.
template <class F, int NT, int MT, int RW, int W, int R, int X, class Prepare, class Emit,
          class Finish>
__device__ inline void direct(const uint8_t* weights, const uint8_t* x, int chunks,
                              const Share& share, int columns, Prepare prepare, Emit emit,
                              Finish finish) {
    // A chunk comes with a pair of blocks, and is there when the pair is.
    static_assert(R > 1 && X > 1 && X - 1 <= 4 * (R - 1), "weights are there in time");
    extern __shared__ __align__(128) uint8_t ring[];
    using Ring = Weights<F, MT, RW, W, R>;
    using Slots = Columns<F, NT, RW, W, X>;
    const int warp = threadIdx.x / 32, first = warp % W;
    float* sums = reinterpret_cast<float*>(ring);
    uint8_t* slots = ring + sums_bytes(NT, MT, RW, W) + first * X * Slots::SLOT;
    uint8_t* stages = ring + sums_bytes(NT, MT, RW, W) + W * X * Slots::SLOT + warp * R * Ring::STAGE;
    Ring a(stages, weights, chunks, share);
    // A group of copies for each of the first pairs: a chunk's is the latest one that is
    // there when its first pair is multiplied.
#pragma unroll
    for (int i = 0; i < Slots::AHEAD; i++) {
#pragma unroll
        for (int j = 0; j < R; j++)
            if (i == (4 * j < Slots::AHEAD ? 4 * j : Slots::AHEAD - 1)) a.fetch(j);
        end_of_copies();
    }
    // How many columns there are comes from memory: weights do not wait for it.
    Slots columns_of(x, chunks, columns, a.steps);
    let_kernel_after_start();
    wait_for_kernel_before();
    columns_of.begin(slots, prepare);
    int stage = 0, before = R;
    int now = 0, last = (X - 1) * Slots::SLOT;
    for (int set = share.begin; set < share.end; set++) {
        float acc[MT][NT][2] = {};
        for (int step = 0; step < a.steps; step++) {
            Shared<F> chunk[MT];
#pragma unroll
            for (int m = 0; m < MT; m++) chunk[m] = a(stage, m);
#pragma unroll
            for (int p = 0; p < 4; p++) {
                // This pair's copies are there for all, and nobody reads the last one's.
                wait_for_copies<X - 2>();
                wait_for_team<RW>(first);
                if (p == 0 && before < R) a.fetch(before);
                columns_of.fetch(slots + last, p);
                end_of_copies();
#pragma unroll
                for (int e = 0; e < 2; e++) multiply<F, NT, MT>(acc, chunk, slots + now, p, e);
                last = now;
                now = now == (X - 1) * Slots::SLOT ? 0 : now + Slots::SLOT;
            }
            before = stage;
            stage = stage == R - 1 ? 0 : stage + 1;
        }
        reduce<NT, MT, RW, W>(acc, sums, columns,
                              [&](int tile, int column, int row, float sum, bool valid) {
                                  emit(set * RW * MT + tile, column, row, sum / F::BYTE_UNIT, valid);
                              });
        finish(set);
    }
}

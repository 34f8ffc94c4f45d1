// What products of a quantized matrix with few and several columns share: how weights
// come, and how sums are put together.
//
// A set of rows is RW groups of MT tiles of 16. A block takes neighbouring sets, its
// share of all. Each group has W warps that share its columns: warp w takes the chunks w,
// w + W, ... Each element of a result is summed in an order that depends on W alone,
// neither on the columns beside it nor on MT and RW: that is why a column's bits do not
// depend on how many there are.
#pragma once
#include "activations.cuh"

// 16 bytes into shared memory.
__device__ inline void copy_async(void* to, const void* from) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(at), "l"(from)
                 : "memory");
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

// The sets of a block: UNIT neighbouring ones belong together.
struct Share {
    int begin, end;
    __device__ Share(int sets, int unit) {
        const int64_t units = sets / unit, block = blockIdx.x, grid = gridDim.x;
        begin = static_cast<int>(block * units / grid) * unit;
        end = static_cast<int>((block + 1) * units / grid) * unit;
    }
};

// A warp's chunks on their way to R stages in shared memory, in the order in which they
// are multiplied, set after set.
template <class F, int MT, int RW, int W, int R>
struct Weights {
    static constexpr int STAGE = MT * F::BYTES;
    uint8_t* stages;
    const uint8_t* from;
    size_t row_of_chunks;
    int64_t turn;
    int steps, left, fetched = 0;

    __device__ Weights(uint8_t* stages, const uint8_t* weights, int chunks, const Share& share)
        : stages(stages) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp % W;
        row_of_chunks = static_cast<size_t>(chunks) * F::BYTES;
        const size_t set_of_chunks = RW * MT * row_of_chunks;
        steps = (chunks - first + W - 1) / W;
        left = steps > 0 ? (share.end - share.begin) * steps : 0;
        from = weights + share.begin * set_of_chunks + warp / W * MT * row_of_chunks +
               static_cast<size_t>(first) * F::BYTES + lane * 16;
        // From the last chunk of a set to the first of the next.
        turn = static_cast<int64_t>(set_of_chunks) - static_cast<int64_t>(steps - 1) * W * F::BYTES;
    }

    // Starts copying the next chunk, if there is one.
    __device__ void fetch(int stage) {
        if (left == 0) return;
        const int lane = threadIdx.x % 32;
        uint8_t* to = stages + stage * STAGE + lane * 16;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int i = 0; i < F::BYTES; i += 512)
                if (i + 512 <= F::BYTES || i + lane * 16 < F::BYTES)
                    copy_async(to + m * F::BYTES + i, from + m * row_of_chunks + i);
        left--;
        const bool last = ++fetched == steps;
        from += last ? turn : W * F::BYTES;
        if (last) fetched = 0;
    }

    __device__ Shared<F> operator()(int stage, int m) const {
        return {stages + stage * STAGE + m * F::BYTES};
    }
};

// Where a lane's sums are in a tile of 16 rows: `acc[i]` of `columns_of<N>` columns.
// Columns lie so far apart in shared memory that no two lanes' banks meet.
template <int N>
struct Sums {
    static constexpr int COLUMNS = 2 * N, PITCH = N == 2 ? 24 : 20;
    // Of 2: rows g and g + 8 of column t. Of 4: those of columns 2t and 2t + 1.
    __device__ static int column(int t, int i) { return N == 2 ? t : 2 * t + i % 2; }
    __device__ static int row(int g, int i) { return g + i * 2 / N * 8; }
};

// Bytes of shared memory that the sums of a tile of each group take.
constexpr int sums_bytes(int n, int nt, int rw, int w) {
    return nt * 2 * n * rw * w * (n == 2 ? 24 : 20) * 4;
}

// Adds the warps' sums in their order; `emit(tile, column, row, sum, valid)` is
// called for the 16 rows and all columns of every tile of the set, a value for each
// lane of whole warps: lanes 2i and 2i + 1 hold neighbouring rows.
template <int N, int NT, int MT, int RW, int W, class Emit>
__device__ inline void reduce(const float (&acc)[MT][NT][N], float* sums, int columns, Emit emit) {
    using S = Sums<N>;
    constexpr int ALL = NT * S::COLUMNS * S::PITCH;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        __syncthreads();
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < N; i++)
                sums[warp * ALL + (n * S::COLUMNS + S::column(t, i)) * S::PITCH + S::row(g, i)] =
                    acc[m][n][i];
        __syncthreads();
        for (int o = warp * 32; o < RW * 16 * columns; o += RW * W * 32) {
            const int at = min((o + lane) / 16, RW * columns - 1), row = lane % 16;
            const int group = RW == 1 ? 0 : at / columns, column = at - group * columns;
            const float* from = sums + group * W * ALL + column * S::PITCH + row;
            float sum = from[0];
#pragma unroll
            for (int w = 1; w < W; w++) sum += from[w * ALL];
            emit(group * MT + m, column, row, sum, o + lane < RW * 16 * columns);
        }
    }
}

// Weights and activations on their way to shared memory, ahead of the products: what W,
// MT, RW, R and X are is in matmul.cuh.
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

// The sets of a block: `together` neighbouring ones belong together. What is left over
// goes to the first blocks, of which no two are on one multiprocessor.
struct Share {
    int begin, end;
    __device__ Share(int units, int together) {
        const int block = blockIdx.x, grid = gridDim.x, each = units / grid, rest = units % grid;
        begin = (block * each + min(block, rest)) * together;
        end = begin + (each + (block < rest ? 1 : 0)) * together;
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

// A team's activations on their way to X slots in shared memory, a pair of blocks each,
// round and round. NT records of 4 columns make a pair; of a record comes what the
// format needs, and the columns that are there.
template <class F, int NT, int RW, int W, int X>
struct Columns {
    static constexpr int PIECES = (F::MINIMUM ? RECORD : SUMS_AT) / 16, SLOT = NT * PIECES * 16;
    static constexpr int COPIES = (NT * PIECES + RW * 32 - 1) / (RW * 32), AHEAD = X - 1;
    const uint8_t* from[COPIES];
    bool copies[COPIES];
    int to, turn, steps, step = 0;

    __device__ Columns(const uint8_t* x, int chunks, int columns, int steps) : steps(steps) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp % W;
        to = (warp / W * 32 + lane) * 16;
        turn = -(steps - 1) * W * 4 * RECORD;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int at = to / 16 + i * RW * 32, tile = at / PIECES, piece = at % PIECES;
            copies[i] = tile < NT && tile * 4 + (piece < 32 ? piece / 8 : 0) < columns;
            from[i] = x + static_cast<size_t>(tile * chunks + first) * 4 * RECORD + piece * 16;
        }
    }

    // The pair that is AHEAD of the `p`-th of a chunk.
    __device__ void fetch(uint8_t* slot, int p) {
        const int pair = (p + AHEAD) % 4;
        if (pair == 0) advance();
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            if (copies[i]) copy_async(slot + to + i * RW * 512, from[i] + pair * RECORD);
    }

    __device__ void advance() {
        const bool last = ++step == steps;
        if (last) step = 0;
#pragma unroll
        for (int i = 0; i < COPIES; i++) from[i] += last ? turn : W * 4 * RECORD;
    }

    // What is ahead of the first pair, not behind the weights that are being copied;
    // `meanwhile` runs while it comes.
    template <class Meanwhile>
    __device__ void begin(uint8_t* slots, Meanwhile meanwhile) {
        uint4 v[AHEAD][COPIES];
        if (steps > 0)
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                if (i > 0 && i % 4 == 0) advance();
#pragma unroll
                for (int j = 0; j < COPIES; j++)
                    if (copies[j]) v[i][j] = *reinterpret_cast<const uint4*>(from[j] + i % 4 * RECORD);
            }
        meanwhile();
        if (steps == 0) return;
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
#pragma unroll
            for (int j = 0; j < COPIES; j++)
                if (copies[j])
                    *reinterpret_cast<uint4*>(slots + i * SLOT + to + j * RW * 512) = v[i][j];
    }
};

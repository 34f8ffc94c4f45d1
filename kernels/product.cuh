// A narrow product as the kernels of a pass use it: blocks of the shape that suits, and
// rows that are used together.
#pragma once
#include "outputs.cuh"

struct Product {
    const uint8_t* weights;
    const uint8_t* x;
    const State* state;
    int chunks, rows;
};

// A block of the products with 4 * NT columns of which UNIT rows are used together; the
// host knows it too. Hopper has the shared memory for all warps of a multiprocessor,
// others for few of them. Queries, keys and values have so few rows that more of them
// at once would leave multiprocessors idle.
template <class F, int NT, int UNIT>
struct Shape {
#if __CUDA_ARCH__ >= 900
    static constexpr bool LARGE = F::BYTES > (NT == 1 ? 2816 : 2304);
    static constexpr bool NARROW = !LARGE && (NT == 1 || UNIT == 16);
    static constexpr int MT = LARGE ? 1 : 2, RW = NARROW ? 1 : 2, W = 8;
    static constexpr int X = NT == 4 || (NT == 1 && F::BYTES == 2816) ? 3 : 5;
    static constexpr int BLOCKS = NT == 1 && NARROW ? 2 : 1;
#else
    static constexpr int MT = 1, RW = 1, W = 4, X = 3, BLOCKS = 3;
#endif
    static constexpr int R = 2, WARPS = RW * W, ROWS = RW * MT * 16;
};

// `prepare(first)` with the block's first row; `emit(column, row, sum, valid)`;
// `finish(first)` when the UNIT rows from `first` on are done, which all threads have
// emitted.
template <class F, int NT, int UNIT, class Prepare, class Emit, class Finish>
__device__ inline void product(const Product& p, const uint8_t* x, int columns, Prepare prepare,
                               Emit emit, Finish finish) {
    using S = Shape<F, NT, UNIT>;
    constexpr int ALL = UNIT > S::ROWS ? UNIT : S::ROWS, TOGETHER = ALL / S::ROWS;
    const Share share((p.rows + ALL - 1) / ALL, TOGETHER);
    direct<F, NT, S::MT, S::RW, S::W, S::R, S::X>(
        p.weights, x, p.chunks, share, columns, [&] { prepare(share.begin * S::ROWS); },
        [&](int tile, int column, int row, float sum, bool valid) {
            emit(column, tile * 16 + row, sum, valid && tile * 16 + row < p.rows);
        },
        [&](int set) {
            if ((set + 1) % TOGETHER != 0) return;
            __syncthreads();
            const int first = (set + 1) * S::ROWS - ALL;
            for (int i = 0; i < ALL && first + i < p.rows; i += UNIT) finish(first + i);
        });
}

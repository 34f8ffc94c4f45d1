// Products of a quantized matrix with up to 16 columns.
//
// Quants are multiplied as halves, exact; a block of 32 columns is summed in f32 by the
// tensor cores, what its quants are above their zero is taken off by a product with a
// constant, and then the sum is scaled. The RW warps that have the same columns of the
// matrix are a team: they share copies of the activations in shared memory, X pairs of
// blocks, of which there are more bytes than of weights.
#pragma once
#include "matmul.cuh"

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

// An operand A whose elements are all the same. Its four registers are loaded with
// what the compiler cannot know to be equal, or it would copy one of them into four
// in a row at each use.
struct Constant {
    uint32_t bits[4];
    __device__ Constant(uint32_t half, int chunks, int columns)
        : bits{half * 0x00010001 + (chunks >> 31), half * 0x00010001 + (chunks >> 30),
               half * 0x00010001 + (columns >> 31), half * 0x00010001 + (columns >> 30)} {}
};

// Adds the products of the block 2p + e with 8 columns each, in units of SMALLEST:
// `constants[e]` is -ZERO.
template <class F, int NT, int MT>
__device__ inline void multiply(float (&acc)[MT][NT][4], const Shared<F> (&a)[MT],
                                const uint8_t* records, const Constant (&constants)[2], int p, int e) {
    const int lane = threadIdx.x % 32;
    float zeros[4] = {};
    Halves f[MT];
    Scales s[MT];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        F::halves(f[m], a[m], p, e);
        F::scales(s[m], a[m], p, e, F::unit(e));
    }
#pragma unroll
    for (int t = 0; t < NT; t++) {
        const uint8_t* record = records + t * RECORD;
        const uint4 v = *reinterpret_cast<const uint4*>(record + lane * 16);
        const uint8_t* own = record + SCALES_AT + lane % 4 * 8;
        const float2 d = *reinterpret_cast<const float2*>(own);
        float2 sum;
        if (F::MINIMUM) sum = *reinterpret_cast<const float2*>(own + SUMS_AT - SCALES_AT);
        float zero[F::PARTS][4];
        if (!F::MINIMUM) {
            mma(zero[0], constants[e].bits, v.x, v.y, zeros);
            mma(zero[F::PARTS - 1], constants[e].bits, v.z, v.w, F::PARTS == 1 ? zero[0] : zeros);
        }
#pragma unroll
        for (int m = 0; m < MT; m++) {
            float product[2][4];
            mma(product[0], f[m][0], v.x, v.y, F::MINIMUM ? zeros : zero[0]);
            mma(product[1], f[m][1], v.z, v.w, F::PARTS == 1 ? product[0] : zero[F::PARTS - 1]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float& all = acc[m][t][i];
                const float scale = i % 2 ? d.y : d.x;
                if (F::PARTS == 2) all = fmaf(s[m].d[i / 2][0] * scale, product[0][i], all);
                all = fmaf(s[m].d[i / 2][F::PARTS - 1] * scale, product[1][i], all);
                if (F::MINIMUM) all = fmaf(-s[m].m[i / 2] * SMALLEST, i % 2 ? sum.y : sum.x, all);
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

// A team's activations on their way to X slots in shared memory, a pair of blocks each,
// round and round.
template <class F, int NT, int RW, int W, int X>
struct Columns {
    static constexpr int SLOT = 2 * NT * RECORD;
    // 16 bytes each; of a record what the format needs.
    static constexpr int PIECES = (F::MINIMUM ? RECORD : SUMS_AT) / 16;
    static constexpr int COPIES = (2 * NT * PIECES + RW * 32 - 1) / (RW * 32);
    uint8_t* slots;
    const uint8_t* x;
    uint32_t from[COPIES], to[COPIES];
    bool copies[COPIES];
    int steps, pair = 0, step = 0;

    __device__ Columns(uint8_t* slots, const uint8_t* x, int chunks, int columns, int steps)
        : slots(slots), x(x), steps(steps) {
        const int warp = threadIdx.x / 32, first = warp % W, group = warp / W;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int at = (i * RW + group) * 32 + static_cast<int>(threadIdx.x) % 32;
            const int piece = at % PIECES, block = at / PIECES / NT, tile = at / PIECES % NT;
            copies[i] = block < 2 && tile * 8 + (piece < 32 ? piece / 4 : 0) < columns;
            from[i] = ((tile * chunks + first) * 8 + block) * RECORD + piece * 16;
            to[i] = (block * NT + tile) * RECORD + piece * 16;
        }
    }

    __device__ void fetch(int slot) {
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            if (copies[i])
                copy_async(slots + slot * SLOT + to[i], x + from[i] + pair * 2 * RECORD);
        if (++pair % 4 == 0) {
            pair += (W - 1) * 4;
            if (++step == steps) pair = step = 0;
        }
    }
};

// Bytes of shared memory of a block.
template <class F>
constexpr int several_bytes(int nt, int mt, int rw, int w, int r, int x) {
    return w * (rw * r * mt * F::BYTES + x * 2 * nt * RECORD) + sums_bytes(4, nt, rw, w);
}

// NT is the number of tiles of 8 columns; those past the last are not copied, and what
// comes of them is not emitted. `prepare` runs in all threads after the products of a
// set, `finish(set)` after what is emitted of it.
template <class F, int NT, int MT, int RW, int W, int R, int X, class Prepare, class Emit,
          class Finish>
__device__ inline void several(const uint8_t* weights, const uint8_t* x, int chunks,
                               const Share& share, int columns, Prepare prepare, Emit emit,
                               Finish finish) {
    static_assert(R > 1 && X > 1 && X <= 4 * (R - 1) + 1, "weights are there in time");
    extern __shared__ __align__(128) uint8_t ring[];
    using Ring = Weights<F, MT, RW, W, R>;
    using Slots = Columns<F, NT, RW, W, X>;
    constexpr int TEAM = RW * R * Ring::STAGE + X * Slots::SLOT;
    const int warp = threadIdx.x / 32, first = warp % W;
    float* sums = reinterpret_cast<float*>(ring + W * TEAM);
    uint8_t* team = ring + first * TEAM;
    Ring a(team + X * Slots::SLOT + warp / W * R * Ring::STAGE, weights, chunks, share);
    Slots columns_of(team, x, chunks, columns, a.steps);
#pragma unroll
    for (int i = 0; i < R; i++) a.fetch(i);
    const Constant constants[2] = {{0x8000u | F::ZERO * F::unit(0), chunks, columns},
                                   {0x8000u | F::ZERO * F::unit(1), chunks, columns}};
    wait_for_kernel_before();
    let_kernel_after_start();
    if (a.steps > 0)
#pragma unroll
        for (int i = 0; i < X - 1; i++) {
            columns_of.fetch(i);
            end_of_copies();
        }
    int stage = 0, slot = 0;
    bool begun = false;
    for (int set = share.begin; set < share.end; set++) {
        float acc[MT][NT][4] = {};
        for (int step = 0; step < a.steps; step++) {
            Shared<F> chunk[MT];
#pragma unroll
            for (int m = 0; m < MT; m++) chunk[m] = a(stage, m);
#pragma unroll
            for (int p = 0; p < 4; p++) {
                // This pair's copies are there for all, and nobody reads the last one's.
                wait_for_copies<X - 2>();
                wait_for_team<RW>(first);
                if (p == 0 && begun) a.fetch(stage == 0 ? R - 1 : stage - 1);
                begun = true;
                columns_of.fetch(slot == 0 ? X - 1 : slot - 1);
                end_of_copies();
                const uint8_t* records = team + slot * Slots::SLOT;
#pragma unroll
                for (int e = 0; e < 2; e++)
                    multiply<F, NT, MT>(acc, chunk, records + e * NT * RECORD, constants, p, e);
                slot = slot == X - 1 ? 0 : slot + 1;
            }
            stage = stage == R - 1 ? 0 : stage + 1;
        }
        prepare();
        reduce<4, NT, MT, RW, W>(acc, sums, columns,
                                 [&](int tile, int column, int row, float sum, bool valid) {
                                     emit(set * RW * MT + tile, column, row, sum / SMALLEST, valid);
                                 });
        finish(set);
    }
}

// A cache of keys and values, in f16 or q8_0: how it is read, a piece of 64 positions
// at a time, and how new rows are quantized. What writes rows in f16 is in llama.cu.
#pragma once
#include "matmul.cuh"

// Tokens in the cache before this pass, and new ones; logits are of those from
// `first`, a multiple of 8, on.
struct State {
    int length, columns, first;
};

constexpr int SPLIT = 64;

// 16 bytes into shared memory, or zeros.
__device__ inline void copy_async(void* to, const void* from, bool there) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

// `q (columns, heads, D)`, `k` and `v (kv heads, context, D)`, in halves or in 8 bits
// with scales `(kv heads, context, D / 32)`, halves, behind them. `attend` writes, for
// each row and piece, the sum of values weighted by e^(score - top), `sums (columns,
// heads, pieces, D)`, and top and the sum of weights, `tops (columns, heads, pieces, 2)`.
struct Attention {
    const __half* q;
    const void* k;
    const void* v;
    float* sums;
    float2* tops;
    const State* state;
    int heads, kv_heads, context, pieces;
    float scale;
};

// Rows of keys or values in shared memory, padded against bank conflicts.
template <int D>
using Rows = __half (*)[D + 8];

// Positions that are loaded: from `begin` to `end`, and, if that is `total`, zeros after.
struct Positions {
    int begin, end, total;
    __device__ bool there(int position) const { return position < end; }
    __device__ bool loaded(int position) const {
        return position >= begin && (position < end || end == total);
    }
};

// Types of a cache: how keys and values of the piece at `start` get to shared memory.
struct F16 {
    template <int D>
    __device__ static void load_piece(const Attention& p, int kv, int start, Positions positions,
                                      Rows<D> keys, Rows<D> values) {
        for (int i = threadIdx.x; i < SPLIT * D / 8; i += blockDim.x) {
            const int row = i / (D / 8), at = i % (D / 8) * 8;
            if (!positions.loaded(start + row)) continue;
            const bool there = positions.there(start + row);
            const size_t from =
                (static_cast<size_t>(kv) * p.context + (there ? start + row : 0)) * D + at;
            copy_async(&keys[row][at], static_cast<const __half*>(p.k) + from, there);
            copy_async(&values[row][at], static_cast<const __half*>(p.v) + from, there);
        }
        end_of_copies();
    }
};

struct Q8 {
    // 16 quants times their scale: a quant with its sign bit flipped, or-ed to the half
    // 1024, is 1152 more than it is; the product is rounded once.
    __device__ static void expand(__half* to, const uint4& quants, __half scale) {
        const __half2 both = __half2half2(scale), zero = __float2half2_rn(1152.0f);
        uint32_t halves[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const uint32_t word = (i < 4 ? i < 2 ? quants.x : quants.y : i < 6 ? quants.z : quants.w);
            const uint32_t bits = __byte_perm(word ^ 0x80808080, 0x64646464, i % 2 ? 0x4342 : 0x4140);
            const __half2 whole = __hsub2(*reinterpret_cast<const __half2*>(&bits), zero);
            const __half2 value = __hmul2(whole, both);
            halves[i] = *reinterpret_cast<const uint32_t*>(&value);
        }
        reinterpret_cast<uint4*>(to)[0] = make_uint4(halves[0], halves[1], halves[2], halves[3]);
        reinterpret_cast<uint4*>(to)[1] = make_uint4(halves[4], halves[5], halves[6], halves[7]);
    }

    template <int D>
    __device__ static void load_piece(const Attention& p, int kv, int start, Positions positions,
                                      Rows<D> keys, Rows<D> values) {
        const size_t all = static_cast<size_t>(p.kv_heads) * p.context * D;
        const int8_t* k = static_cast<const int8_t*>(p.k);
        const int8_t* v = static_cast<const int8_t*>(p.v);
        const __half* k_scales = reinterpret_cast<const __half*>(k + all);
        const __half* v_scales = reinterpret_cast<const __half*>(v + all);
#pragma unroll 4
        for (int i = threadIdx.x; i < SPLIT * D / 16; i += 128) {
            const int row = i / (D / 16), at = i % (D / 16) * 16;
            if (!positions.loaded(start + row)) continue;
            const bool there = positions.there(start + row);
            const size_t from =
                (static_cast<size_t>(kv) * p.context + (there ? start + row : 0)) * D + at;
            const uint4 key = *reinterpret_cast<const uint4*>(k + from);
            const uint4 value = *reinterpret_cast<const uint4*>(v + from);
            const __half none = __float2half_rn(0.0f);
            expand(&keys[row][at], key, there ? k_scales[from / 32] : none);
            expand(&values[row][at], value, there ? v_scales[from / 32] : none);
        }
    }
};

// New keys and values in f16, `(kv heads, rows, head dim)`, those of a position in row
// position % rows, on their way into a cache in q8_0.
struct Fresh {
    const __half* k;
    const __half* v;
    int8_t* keys;
    int8_t* values;
    const State* state;
    int kv_heads, context, rows;
};

// 32 values of a head at one token get a scale, by which the largest is 127. Grid (kv
// heads, columns), 2 * head dim threads: the key's, then the value's.
__device__ inline void quantize(const Fresh& p) {
    const State state = *p.state;
    const int kv = blockIdx.x, column = blockIdx.y, dim = blockDim.x / 2;
    if (column >= state.columns) return;
    let_kernel_after_start();
    wait_for_kernel_before();
    const int thread = threadIdx.x, element = thread % dim, position = state.length + column;
    const __half* from = thread < dim ? p.k : p.v;
    int8_t* quants = thread < dim ? p.keys : p.values;
    const float value = __half2float(
        from[(static_cast<size_t>(kv) * p.rows + position % p.rows) * dim + element]);
    float largest = fabsf(value);
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const __half scale = __float2half_rn(largest / 127.0f);
    const float unit = __half2float(scale);
    const float quant = unit > 0.0f ? rintf(value / unit) : 0.0f;
    const size_t at = (static_cast<size_t>(kv) * p.context + position) * dim + element;
    quants[at] = static_cast<int8_t>(fminf(fmaxf(quant, -127.0f), 127.0f));
    const size_t all = static_cast<size_t>(p.kv_heads) * p.context * dim;
    if (thread % 32 == 0) reinterpret_cast<__half*>(quants + all)[at / 32] = scale;
}

// The choice of a token from a row of logits, as `src/llama/choice.rs` defines it. Weights
// are whole numbers, so that sums do not depend on their order, and every operation that
// rounds is the host's: both choose the same id, bit for bit.
//
// Nothing is sorted. What top-k keeps, what top-p keeps and what is drawn are each the first
// id, in some order, with which a sum is large enough; it is found digit by digit.
#pragma once
#include "matmul.cuh"

// What the host asks. A bit for each id follows, to whole words, that tells whether it may be
// chosen, then one that tells whether it is penalized.
struct Ask {
    // In 2^-64ths.
    uint64_t share, random;
    float penalty, scale;
    // `top_k` is 0 where all are kept, `drawn` where the largest logit is chosen.
    int row, top_k, drawn;
};

// `rows (rows, vocab)`; `logits` and `weights` of one row are scratch.
struct Choosing {
    const float* rows;
    const Ask* ask;
    float* logits;
    uint32_t* weights;
    // The id, or what is wrong.
    int* answer;
    int vocab;
};

constexpr int CHOOSERS = 1024, NOT_A_NUMBER = -1, NOTHING = -2;

// Joins the values of all threads; each gets the results.
template <int N, class Join>
__device__ inline void together(uint64_t (&values)[N], Join join) {
    __shared__ uint64_t parts[N][CHOOSERS / 32];
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n++)
        for (int i = 16; i > 0; i /= 2)
            values[n] = join(values[n], __shfl_xor_sync(~0u, values[n], i));
    // The parts of the call before have been read.
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; n++)
        if (lane == 0) parts[n][threadIdx.x / 32] = values[n];
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; n++) {
        values[n] = parts[n][lane];
        for (int i = 16; i > 0; i /= 2)
            values[n] = join(values[n], __shfl_xor_sync(~0u, values[n], i));
    }
}

__device__ inline uint64_t plus(uint64_t a, uint64_t b) { return a + b; }

template <class Weight>
__device__ inline uint64_t sum(int vocab, Weight weight) {
    uint64_t all[1] = {};
    for (int id = threadIdx.x; id < vocab; id += CHOOSERS) all[0] += weight(id);
    together(all, plus);
    return all[0];
}

// The largest number below 2^bits, which is even, that so many ids have a key of at least
// that their weights add up to `enough`; 0 if all do not.
template <class Key, class Weight>
__device__ inline uint64_t edge_of(int vocab, int bits, uint64_t enough, Key key, Weight weight) {
    uint64_t edge = 0;
    for (int shift = bits - 2; shift >= 0; shift -= 2) {
        uint64_t sums[3] = {};
        for (int id = threadIdx.x; id < vocab; id += CHOOSERS) {
            const uint64_t here = key(id), value = weight(id);
#pragma unroll
            for (uint64_t digit = 1; digit <= 3; digit++)
                if (here >= edge + (digit << shift)) sums[digit - 1] += value;
        }
        together(sums, plus);
        const int digit = (sums[0] >= enough) + (sums[1] >= enough) + (sums[2] >= enough);
        edge += static_cast<uint64_t>(digit) << shift;
    }
    return edge;
}

// The same order as the floats'.
__device__ inline uint32_t ordered(float logit) {
    const uint32_t bits = __float_as_uint(logit);
    return bits >> 31 ? ~bits : bits | 1u << 31;
}

// 2^(31 - below * scale), rounded down: `weight` of the host, without fused operations.
__device__ inline uint32_t weigh(float below, float scale) {
    const float x = __fmul_rn(below, scale);
    if (!(x < 31.0f)) return 0;
    const uint32_t whole = static_cast<uint32_t>(x);
    const float y = __fmul_rn(__fsub_rn(x, static_cast<float>(whole)), 0.693147180559945309f);
    float power = 1.0f;
#pragma unroll
    for (int n = 9; n > 0; n--)
        power = __fsub_rn(1.0f, __fmul_rn(power, __fmul_rn(y, 1.0f / static_cast<float>(n))));
    return static_cast<uint32_t>(__fmul_rn(power, 2147483648.0f)) >> whole;
}

__device__ inline bool bit(const uint32_t* words, int id) { return words[id / 32] >> id % 32 & 1; }

// One block for a row.
__device__ inline void choose_token(const Choosing& p) {
    const Ask ask = *p.ask;
    const int vocab = p.vocab;
    const float* row = p.rows + static_cast<size_t>(ask.row) * vocab;
    const uint32_t* allowed = reinterpret_cast<const uint32_t*>(p.ask + 1);
    const uint32_t* penalized = allowed + (vocab + 31) / 32;
    // An even number of bits that any id has room in.
    int bits = 2;
    while (vocab > 1 << bits) bits += 2;
    const auto reversed = [&](int id) { return static_cast<uint64_t>(vocab - 1 - id); };
    // The larger logit, then the smaller id. Each thread reads what it wrote.
    const auto rank = [&](int id) {
        return static_cast<uint64_t>(ordered(p.logits[id])) << bits | reversed(id);
    };

    bool bad = false;
    uint64_t best[1] = {};
    for (int id = threadIdx.x; id < vocab; id += CHOOSERS) {
        float logit = row[id];
        bad = bad || !(logit < INFINITY);
        if (bit(penalized, id))
            logit = logit > 0.0f ? fminf(__fdiv_rn(logit, ask.penalty), 3.402823466e38f)
                                 : __fmul_rn(logit, ask.penalty);
        p.logits[id] = bit(allowed, id) ? logit : -INFINITY;
        best[0] = max(best[0], rank(id));
    }
    bad = __syncthreads_or(bad);
    together(best, [](uint64_t a, uint64_t b) { return max(a, b); });
    int answer = vocab - 1 - static_cast<int>(best[0] & ((1ull << bits) - 1));
    // Another thread wrote it, before both joined their best.
    const float top = p.logits[answer];
    if (bad || top == -INFINITY) {
        answer = bad ? NOT_A_NUMBER : NOTHING;
    } else if (ask.drawn) {
        uint64_t edge = 0;
        const auto one = [](int) { return static_cast<uint64_t>(1); };
        const auto weight = [&](int id) {
            return static_cast<uint64_t>(rank(id) < edge ? 0 : p.weights[id]);
        };
        for (int id = threadIdx.x; id < vocab; id += CHOOSERS)
            p.weights[id] = weigh(__fsub_rn(top, p.logits[id]), ask.scale);
        if (ask.top_k > 0) edge = edge_of(vocab, 32 + bits, ask.top_k, rank, one);
        if (ask.share != ~0ull) {
            const uint64_t enough = max(__umul64hi(ask.share, sum(vocab, weight)), 1ull);
            // What top-k left out weighs nothing, so this edge is not below that one.
            edge = edge_of(vocab, 32 + bits, enough, rank, weight);
        }
        const uint64_t drawn = __umul64hi(ask.random, sum(vocab, weight));
        answer = vocab - 1 -
                 static_cast<int>(edge_of(vocab, bits, drawn + 1, reversed, weight));
    }
    if (threadIdx.x == 0) *p.answer = answer;
}

// Chunks on the host, written from the table in chunk.cuh alone: random ones,
// and the value of each weight.
#pragma once
#include <cstdint>
#include <cstring>
#include <cuda_fp16.h>

enum Format { F_Q4_0, F_Q4_K, F_Q5_K, F_Q6_K, F_Q8_0 };

inline double half_at(const uint8_t* bytes) {
    __half value;
    memcpy(&value, bytes, 2);
    return static_cast<double>(__half2float(value));
}

// The place of column `k` of a block of 32 in row `row`: lane, word of two
// (columns below 16 or not), byte.
struct Place {
    int lane, high_row, high_half, byte;
    Place(int row, int k)
        : lane(row % 8 * 4 + k % 16 / 4), high_row(row / 8), high_half(k / 16), byte(k % 4) {}
};

inline double weight(Format format, const uint8_t* chunk, int row, int column) {
    const int block = column / 32, pair = block / 2, e = block % 2;
    const Place at(row, column % 32);
    const uint8_t* lane = chunk + pair * 512 + at.lane * 16;
    const double scale = half_at(chunk + (format == F_Q8_0 ? 4096 : 2048) + row % 8 * 32 +
                                 block * 4 + row / 8 * 2);
    const int word = at.high_row * 8 + at.high_half * 4 + at.byte;
    const int nibble = e ? lane[word] >> 4 : lane[word] & 15;
    const auto high_bits = [&](int load) { return chunk[2048 + load * 512 + at.lane * 16 + word]; };
    switch (format) {
        case F_Q4_0: return scale * (nibble - 8);
        case F_Q8_0: return scale * (chunk[block * 512 + at.lane * 16 + word] - 128);
        case F_Q4_K:
        case F_Q5_K: {
            int q = nibble;
            if (format == F_Q5_K) q |= (high_bits(0) >> block & 1) << 4;
            const uint8_t* s = chunk + (format == F_Q5_K ? 2560 : 2048) + row * 16;
            uint16_t words[3][2];
            memcpy(words, s + 4, 12);
            const auto six = [&](int of) {
                if (block == 6) return words[0][of] >> 12 | (words[1][of] >> 12 & 3) << 4;
                if (block == 7) return words[1][of] >> 14 | words[2][of] >> 12 << 2;
                return words[block / 2][of] >> 6 * (block % 2) & 63;
            };
            return half_at(s) * six(0) * q - half_at(s + 2) * six(1);
        }
        default: {
            const int q = nibble | (high_bits(pair / 2) >> 2 * (block % 4) & 3) << 4;
            const int sc = chunk[3072 + row * 16 + column / 16] - 128;
            return half_at(chunk + 3328 + row % 8 * 4 + row / 8 * 2) * sc * (q - 32);
        }
    }
}

__host__ __device__ inline uint32_t hash(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return static_cast<uint32_t>(x >> 32 ^ x);
}

// A half between 0.001 and 0.01, its sign random too.
__device__ inline uint16_t small_half(uint64_t seed) {
    const uint32_t bits = hash(seed);
    const float value = 0.001f + 0.009f * (bits % 1000) / 1000.0f;
    return __half_as_ushort(__float2half(bits >> 31 ? -value : value));
}

// Random chunks with scales of a sane size; one warp a chunk.
__global__ void fill(uint8_t* weights, size_t chunks, int bytes, int format, uint64_t seed) {
    const size_t chunk = (blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x) / 32;
    if (chunk >= chunks) return;
    uint8_t* at = weights + chunk * bytes;
    const int lane = threadIdx.x % 32;
    for (int i = lane; i < bytes / 4; i += 32)
        reinterpret_cast<uint32_t*>(at)[i] = hash(seed + chunk * 8192 + i);
    __syncwarp();
    const bool k45 = format == F_Q4_K || format == F_Q5_K;
    const int start = format == F_Q8_0 ? 4096 : format == F_Q5_K ? 2560 : format == F_Q6_K ? 3328 : 2048;
    const int count = k45 ? 32 : format == F_Q6_K ? 16 : 128;
    for (int i = lane; i < count; i += 32) {
        uint8_t* half = at + start + (k45 ? i / 2 * 16 + i % 2 * 2 : i * 2);
        *reinterpret_cast<uint16_t*>(half) = small_half(seed + chunk * 8192 + 4096 + i);
    }
}

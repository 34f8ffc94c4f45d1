// The gate's matrices, launches and checks against the host.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "matmul.cuh"
#include "reference.cuh"

#define CHECK(call)                                                                      \
    do {                                                                                 \
        cudaError_t error_ = (call);                                                     \
        if (error_ != cudaSuccess) {                                                     \
            printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));       \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

using Kernel = void (*)(const uint8_t*, const uint8_t*, float*, int, int, int);

// A kernel, the rows of its sets, sets of a block (0: as many blocks as run at once).
struct Narrow {
    Kernel kernel;
    int rows, threads, shared, blocks, each;
};

struct Variant {
    std::string name;
    Format format;
    int bytes;
    Narrow four, eight, sixteen;
    const Narrow& of(int columns) const {
        return columns <= 4 ? four : columns <= 8 ? eight : sixteen;
    }
};

struct Matrix {
    const char* name;
    int rows, k;
};
inline const Matrix LAYER[] = {
    {"qkv", 10240, 8192}, {"out", 8192, 8192}, {"gate+up", 57344, 8192}, {"down", 8192, 28672}};
constexpr int LAYERS = 6, COLUMNS = 16, MOST_K = 28672, MOST_ROWS = 57344;

inline cudaStream_t stream_;
inline int multiprocessors_;
inline uint8_t* x_;
inline float *input_, *y_;
inline uint8_t* weights_;

inline size_t matrix_bytes(const Variant& v, const Matrix& m) {
    return static_cast<size_t>(m.rows) / 16 * (m.k / 256) * v.bytes;
}

inline void launch(const Variant& v, const uint8_t* w, const Matrix& m, int columns, bool early) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = early;
    cudaLaunchConfig_t config = {};
    const Narrow& kernel = v.of(columns);
    const int sets = m.rows / kernel.rows;
    config.gridDim = dim3(kernel.each ? sets / kernel.each
                                      : std::min(sets, kernel.blocks * multiprocessors_));
    config.blockDim = dim3(kernel.threads);
    config.dynamicSmemBytes = kernel.shared;
    config.stream = stream_;
    config.attrs = &attribute;
    config.numAttrs = 1;
    CHECK(cudaLaunchKernelEx(&config, kernel.kernel, w, x_, y_, m.k / 256, sets,
                             columns));
}

__global__ void round_kernel(const float* from, uint8_t* x, int k) {
    const int column = blockIdx.y, at = blockIdx.x * blockDim.x + threadIdx.x;
    store_block(x, Form::NARROW, k / 256, column, at / 32, from[static_cast<size_t>(column) * k + at]);
}

inline void round_activations(int k) {
    round_kernel<<<dim3(k / 256, COLUMNS), 256, 0, stream_>>>(input_, x_, k);
    CHECK(cudaGetLastError());
}

// Relative error of sampled rows against the host in double, from the rounded
// activations themselves; negative if a column's bits depend on how many there are.
inline double check(const Variant& v, const Matrix& m, const std::vector<float>& input) {
    const int chunks = m.k / 256, tiles = m.rows / 16;
    round_activations(m.k);
    std::vector<int8_t> x(static_cast<size_t>(m.k) / 64 * 4 * RECORD);
    std::vector<float> y(static_cast<size_t>(m.rows) * 16);
    CHECK(cudaMemcpyAsync(x.data(), x_, x.size(), cudaMemcpyDeviceToHost, stream_));
    CHECK(cudaMemsetAsync(y_, 0xFF, y.size() * 4, stream_));
    launch(v, weights_, m, 16, true);
    CHECK(cudaMemcpyAsync(y.data(), y_, y.size() * 4, cudaMemcpyDeviceToHost, stream_));
    CHECK(cudaStreamSynchronize(stream_));
    const auto element = [&](int column, int k) {
        const int8_t* record = x.data() + (static_cast<size_t>(column) / 4 * chunks * 4 + k / 64) * RECORD;
        const int8_t* at = record + (column % 4 * 8 + k % 16 / 4) * 16 + k / 32 % 2 * 8 +
                           k / 16 % 2 * 4 + k % 4;
        float d;
        memcpy(&d, record + SCALES_AT + (column % 4 * 2 + k / 32 % 2) * 4, 4);
        return (at[0] * 256 + at[64]) * static_cast<double>(d);
    };
    double wrong = 0, size = 0, coarse = 0;
    std::vector<uint8_t> tile(static_cast<size_t>(chunks) * v.bytes);
    for (int t : {0, 1, tiles / 3, tiles - 1}) {
        CHECK(cudaMemcpy(tile.data(), weights_ + t * tile.size(), tile.size(), cudaMemcpyDeviceToHost));
        for (int row = 0; row < 16; row++) {
            std::vector<double> w(m.k);
            for (int k = 0; k < m.k; k++)
                w[k] = weight(v.format, tile.data() + static_cast<size_t>(k) / 256 * v.bytes, row, k % 256);
            for (int column = 0; column < 16; column++) {
                double sum = 0, exact = 0;
                for (int k = 0; k < m.k; k++) {
                    sum += w[k] * element(column, k);
                    exact += w[k] * input[static_cast<size_t>(column) * m.k + k];
                }
                const double got = y[static_cast<size_t>(column) * m.rows + t * 16 + row];
                wrong += (got - sum) * (got - sum);
                coarse += (exact - sum) * (exact - sum);
                size += sum * sum;
            }
        }
    }
    for (int columns = 1; columns < 16; columns++) {
        std::vector<float> few(static_cast<size_t>(m.rows) * columns);
        CHECK(cudaMemsetAsync(y_, 0xFF, few.size() * 4, stream_));
        launch(v, weights_, m, columns, true);
        CHECK(cudaMemcpyAsync(few.data(), y_, few.size() * 4, cudaMemcpyDeviceToHost, stream_));
        CHECK(cudaStreamSynchronize(stream_));
        if (memcmp(few.data(), y.data(), few.size() * 4)) {
            printf("%s: bits differ at %d columns\n", v.name.c_str(), columns);
            return -1;
        }
    }
    printf("%-26s %-8s error %.1e, of activations %.1e\n", v.name.c_str(), m.name,
           std::sqrt(wrong / size), std::sqrt(coarse / size));
    return std::isfinite(wrong) ? std::sqrt(wrong / size) : -1;
}

// Measures variants of the products with quantized weights: one whole layer of
// Llama-2-70B in a graph, over more layers than the L2 holds. Checks every variant
// against the host first, and that a column's bits do not depend on the others.
// Prints a table. Build and run:  kernels/build.sh gate && target/gate [quick]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
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

struct Store {
    float* y;
    int rows, first;
    __device__ void operator()(int m, int column, int row, float sum, bool valid) const {
        if (valid) y[static_cast<size_t>(column) * rows + first + m * 16 + row] = sum;
    }
};

template <class F, int NT, int MT, int W, int BLOCKS>
__global__ __launch_bounds__(W * 32, BLOCKS) void direct_kernel(const uint8_t* w, const uint4* x,
                                                                float* y, int chunks, int columns) {
    Store store = {y, static_cast<int>(gridDim.x) * MT * 16, static_cast<int>(blockIdx.x) * MT * 16};
    direct<F, NT, MT, W>(w, x, chunks, columns, [] {}, store);
}

// The ceiling: the same bytes, read and thrown away.
__global__ __launch_bounds__(512) void read_kernel(const uint8_t* w, size_t bytes, float* y) {
    wait_for_kernel_before();
    let_kernel_after_start();
    const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x * 16;
    uint32_t sum = 0;
    size_t at = (blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x) * 16;
    for (; at + 3 * step < bytes; at += 4 * step) {
        uint4 v[4];
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = stream(w + at + i * step);
#pragma unroll
        for (int i = 0; i < 4; i++) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    for (; at < bytes; at += step) sum ^= stream(w + at).x;
    if (sum == 0x12345678) y[0] = 1.0f;
}

__global__ void round_kernel(const float* from, uint4* x, int k) {
    const int column = blockIdx.y, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < k) store(x, k / 32, column, at, from[static_cast<size_t>(column) * k + at]);
}

using Kernel = void (*)(const uint8_t*, const uint4*, float*, int, int);

struct Variant {
    std::string name;
    Format format;
    int bytes, rows, threads, shared;
    Kernel eight, sixteen;
    Kernel kernel(int columns) const { return columns <= 8 ? eight : sixteen; }
};

template <class F> Format format_of();
template <> Format format_of<Q4_0>() { return F_Q4_0; }
template <> Format format_of<Q4_K>() { return F_Q4_K; }
template <> Format format_of<Q5_K>() { return F_Q5_K; }
template <> Format format_of<Q6_K>() { return F_Q6_K; }
template <> Format format_of<Q8_0>() { return F_Q8_0; }
const char* NAMES[] = {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"};

std::vector<Variant> variants;

void add(Variant v) {
    for (Kernel kernel : {v.eight, v.sixteen})
        CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, v.shared));
    variants.push_back(v);
}

template <class F, int MT, int W, int BLOCKS> void add_direct() {
    char name[64];
    snprintf(name, sizeof name, "%s mt%d w%d b%d", NAMES[format_of<F>()], MT, W, BLOCKS);
    add({name, format_of<F>(), F::BYTES, MT * 16, W * 32, sums_bytes(16, W),
         direct_kernel<F, 1, MT, W, BLOCKS>, direct_kernel<F, 2, MT, W, BLOCKS>});
}

struct Matrix {
    const char* name;
    int rows, k;
};
const Matrix LAYER[] = {
    {"qkv", 10240, 8192}, {"out", 8192, 8192}, {"gate+up", 57344, 8192}, {"down", 8192, 28672}};
constexpr int LAYERS = 6, COLUMNS = 16, MOST_K = 28672, MOST_ROWS = 57344;

cudaStream_t stream_;
uint4* x_;
float *input_, *y_;
uint8_t* weights_;

size_t matrix_bytes(const Variant& v, const Matrix& m) {
    return static_cast<size_t>(m.rows) / 16 * (m.k / 256) * v.bytes;
}

void launch(const Variant& v, const uint8_t* w, const Matrix& m, int columns, bool early) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = early;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(m.rows / v.rows);
    config.blockDim = dim3(v.threads);
    config.dynamicSmemBytes = v.shared;
    config.stream = stream_;
    config.attrs = &attribute;
    config.numAttrs = 1;
    CHECK(cudaLaunchKernelEx(&config, v.kernel(columns), w, x_, y_, m.k / 256, columns));
}

// Median milliseconds of a graph of what `work` launches.
float measure(const std::function<void()>& work) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
    work();
    CHECK(cudaStreamEndCapture(stream_, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t start, end;
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < 25; i++) {
        CHECK(cudaEventRecord(start, stream_));
        CHECK(cudaGraphLaunch(exec, stream_));
        CHECK(cudaEventRecord(end, stream_));
        CHECK(cudaEventSynchronize(end));
        float time;
        CHECK(cudaEventElapsedTime(&time, start, end));
        if (i >= 4) times.push_back(time);
    }
    std::sort(times.begin(), times.end());
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaEventDestroy(start));
    CHECK(cudaEventDestroy(end));
    return times[times.size() / 2];
}

void round_activations(int k) {
    round_kernel<<<dim3((k + 255) / 256, COLUMNS), 256, 0, stream_>>>(input_, x_, k);
    CHECK(cudaGetLastError());
}

// Relative error of sampled rows against the host in double, from the rounded
// activations themselves; negative if a column's bits depend on how many there are.
double check(const Variant& v, const Matrix& m, const std::vector<float>& input) {
    const int chunks = m.k / 256, tiles = m.rows / 16;
    round_activations(m.k);
    std::vector<__half> x(static_cast<size_t>(m.k) * 16);
    std::vector<float> y(static_cast<size_t>(m.rows) * 16);
    CHECK(cudaMemcpyAsync(x.data(), x_, x.size() * 2, cudaMemcpyDeviceToHost, stream_));
    CHECK(cudaMemsetAsync(y_, 0xFF, y.size() * 4, stream_));
    launch(v, weights_, m, 16, true);
    CHECK(cudaMemcpyAsync(y.data(), y_, y.size() * 4, cudaMemcpyDeviceToHost, stream_));
    CHECK(cudaStreamSynchronize(stream_));
    const auto element = [&](int column, int k) {
        const size_t block = (static_cast<size_t>(column / 8) * chunks * 8 + k / 32) * 32;
        const size_t lane = block + column % 8 * 4 + k % 16 / 4;
        return static_cast<double>(__half2float(x[lane * 8 + k / 16 % 2 * 4 + k % 2 * 2 + k % 4 / 2]));
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

void add_all(bool quick) {
    add_direct<Q4_0, 2, 8, 2>();
    add_direct<Q4_0, 1, 8, 4>();
    add_direct<Q4_0, 4, 8, 1>();
    if (quick) return;
    add_direct<Q4_0, 1, 8, 3>();
    add_direct<Q4_0, 1, 8, 5>();
    add_direct<Q4_0, 2, 8, 3>();
    add_direct<Q4_0, 2, 4, 4>();
    add_direct<Q4_0, 4, 4, 2>();
    add_direct<Q4_K, 2, 8, 2>();
    add_direct<Q4_K, 1, 8, 3>();
    add_direct<Q4_K, 4, 8, 1>();
    add_direct<Q5_K, 2, 8, 2>();
    add_direct<Q5_K, 1, 8, 3>();
    add_direct<Q6_K, 2, 8, 2>();
    add_direct<Q6_K, 1, 8, 3>();
    add_direct<Q8_0, 2, 8, 2>();
    add_direct<Q8_0, 1, 8, 3>();
}

int main(int argc, char** argv) {
    const bool quick = argc > 1 && std::string(argv[1]) == "quick";
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    printf("%s, %d multiprocessors, %.0f MB of L2\n", properties.name,
           properties.multiProcessorCount, properties.l2CacheSize / 1e6);
    CHECK(cudaStreamCreate(&stream_));
    add_all(quick);
    size_t layer_most = 0, layer_weights = 0;
    int largest = 0;
    for (const Variant& v : variants) largest = std::max(largest, v.bytes);
    for (const Matrix& m : LAYER) {
        layer_most += static_cast<size_t>(m.rows) / 16 * (m.k / 256) * largest;
        layer_weights += static_cast<size_t>(m.rows) * m.k;
    }
    CHECK(cudaMalloc(&weights_, layer_most * LAYERS));
    CHECK(cudaMalloc(&input_, static_cast<size_t>(COLUMNS) * MOST_K * 4));
    CHECK(cudaMalloc(&y_, static_cast<size_t>(COLUMNS) * MOST_ROWS * 4));
    CHECK(cudaMalloc(&x_, static_cast<size_t>(COLUMNS) * MOST_K * 2));
    std::vector<float> input(static_cast<size_t>(COLUMNS) * MOST_K);
    for (size_t i = 0; i < input.size(); i++) input[i] = hash(i) / 4294967296.0f * 2 - 1;
    CHECK(cudaMemcpy(input_, input.data(), input.size() * 4, cudaMemcpyHostToDevice));

    const float copied = measure([&] {
        CHECK(cudaMemcpyAsync(weights_ + layer_most * 3, weights_, layer_most * 3,
                              cudaMemcpyDeviceToDevice, stream_));
    });
    printf("copy %.2f TB/s, read and written\n", layer_most * 6 / copied / 1e9);
    for (int blocks : {132 * 2, 132 * 4}) {
        const float read = measure([&] {
            read_kernel<<<blocks, 512, 0, stream_>>>(weights_, layer_most * LAYERS, y_);
        });
        printf("read %.2f TB/s with %d blocks of 512\n", layer_most * LAYERS / read / 1e9, blocks);
    }

    bool good = true;
    int filled = -1;
    for (const Variant& v : variants) {
        if (filled != v.format) {
            const size_t chunks = layer_most * LAYERS / v.bytes;
            fill<<<static_cast<unsigned>((chunks + 7) / 8), 256, 0, stream_>>>(
                weights_, chunks, v.bytes, v.format, 1 + v.format);
            CHECK(cudaGetLastError());
            filled = v.format;
        }
        for (const Matrix& m : {LAYER[1], LAYER[3]}) {
            const double error = check(v, m, input);
            // A weight is rounded to 11 bits when it is multiplied.
            good &= error >= 0 && error < 1e-3;
        }
    }
    printf(good ? "all variants agree with the host\n" : "WRONG RESULTS\n");

    printf("\n%-26s %6s |%22s |%39s | %s\n", "one layer", "no PDL", "1 column",
           "us at 2, 4, 8, 16 columns, 16/1", "TB/s of qkv, out, gate+up, down");
    for (const Variant& v : variants) {
        size_t bytes = 0;
        for (const Matrix& m : LAYER) bytes += matrix_bytes(v, m);
        const auto layer = [&](int columns, bool early) {
            return 1e3f / LAYERS * measure([&] {
                for (int i = 0; i < LAYERS; i++) {
                    const uint8_t* w = weights_ + i * layer_most;
                    for (const Matrix& m : LAYER) {
                        launch(v, w, m, columns, early);
                        w += matrix_bytes(v, m);
                    }
                }
            });
        };
        const float late = layer(1, false), one = layer(1, true);
        printf("%-26s %6.1f | %6.1f us  %5.2f TB/s |", v.name.c_str(), late, one, bytes / one / 1e6);
        float time = 0;
        for (int columns : {2, 4, 8, 16}) printf(" %6.1f", time = layer(columns, true));
        printf("  x%5.3f |", time / one);
        for (const Matrix& m : LAYER) {
            const int times = std::max(LAYERS, static_cast<int>(4e9 / matrix_bytes(v, m)) / 4);
            const size_t room = layer_most * LAYERS / matrix_bytes(v, m);
            const float each = measure([&] {
                for (int i = 0; i < times; i++)
                    launch(v, weights_ + i % room * matrix_bytes(v, m), m, 1, true);
            });
            printf(" %5.2f", matrix_bytes(v, m) * times / each / 1e9);
        }
        printf("\n");
    }
    return good ? 0 : 1;
}

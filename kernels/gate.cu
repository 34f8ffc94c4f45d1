// Measures variants of the products with quantized weights: one whole layer of
// Llama-2-70B in a graph, over more layers than the L2 holds. Checks every variant
// against the host first, and that a column's bits do not depend on the others.
// Prints a table. Build and run:
//   kernels/build.sh gate && target/gate             every variant
//   target/gate only "Q4_0 mt2"                      those with this in their name
#include <algorithm>
#include <functional>

#include "check.cuh"

template <class F, int NT, class K>
__global__ __launch_bounds__(K::W* K::RW * 32, K::BLOCKS) void direct_kernel(
    const uint8_t* w, const uint8_t* x, float* y, int chunks, int sets, int columns) {
    const int rows = sets * K::RW * K::MT * 16;
    direct<F, NT, K::MT, K::RW, K::W, K::R, K::X>(
        w, x, chunks, Share(sets, 1), columns, [] {},
        [&](int tile, int column, int row, float sum, bool valid) {
            if (valid) y[static_cast<size_t>(column) * rows + tile * 16 + row] = sum;
        },
        [](int) {});
}

// 16 bytes that are read once, if they are there; else `v` stays.
__device__ inline void stream(uint4& v, const uint8_t* from, bool there) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %5, 0;\n"
                 "@p ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];}"
                 : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
                 : "l"(from), "r"(static_cast<uint32_t>(there)));
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
        for (int i = 0; i < 4; i++) stream(v[i], w + at + i * step, true);
#pragma unroll
        for (int i = 0; i < 4; i++) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    for (; at < bytes; at += step) {
        uint4 v;
        stream(v, w + at, true);
        sum ^= v.x;
    }
    if (sum == 0x12345678) y[0] = 1.0f;
}

template <class F> Format format_of();
template <> Format format_of<Q4_0>() { return F_Q4_0; }
template <> Format format_of<Q4_K>() { return F_Q4_K; }
template <> Format format_of<Q5_K>() { return F_Q5_K; }
template <> Format format_of<Q6_K>() { return F_Q6_K; }
template <> Format format_of<Q8_0>() { return F_Q8_0; }
const char* NAMES[] = {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"};

std::vector<Variant> variants;

// MT tiles for a warp, W warps along the columns, RW groups of rows, R stages for a
// warp, X for activations, BLOCKS on a multiprocessor as far as registers go, EACH sets
// for a block (0: as many blocks as run at once).
template <int MT_, int W_, int RW_, int R_, int X_, int BLOCKS_, int EACH_ = 0>
struct Shape {
    static constexpr int MT = MT_, W = W_, RW = RW_, R = R_, X = X_, BLOCKS = BLOCKS_, EACH = EACH_;
    static std::string name() {
        char name[64];
        snprintf(name, sizeof name, "mt%d w%d r%d s%d x%d b%d e%d", MT, W, RW, R, X, BLOCKS, EACH);
        return name;
    }
};

template <class F, int NT, class K>
Narrow narrow() {
    const Narrow narrow = {direct_kernel<F, NT, K>, K::RW * K::MT * 16, K::RW * K::W * 32,
                           direct_bytes<F>(NT, K::MT, K::RW, K::W, K::R, K::X), K::BLOCKS, K::EACH};
    CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(narrow.kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, narrow.shared));
    return narrow;
}

// Shapes for up to 4, 8 and 16 columns.
template <class F, class Four, class Eight, class Sixteen> void add() {
    const std::string name = std::string(NAMES[format_of<F>()]) + " " + Four::name() + " | " +
                             Eight::name() + " | " + Sixteen::name();
    variants.push_back({name, format_of<F>(), F::BYTES, narrow<F, 1, Four>(), narrow<F, 2, Eight>(),
                        narrow<F, 4, Sixteen>()});
}

void add_all() {
    // The program's, but for queries, keys and values of more than 4 columns.
    add<Q4_0, Shape<2, 8, 1, 2, 5, 2>, Shape<2, 8, 2, 2, 5, 1>, Shape<2, 8, 2, 2, 3, 1>>();
    add<Q4_0, Shape<2, 8, 2, 2, 5, 1>, Shape<2, 8, 2, 2, 4, 1>, Shape<2, 8, 1, 2, 5, 1>>();
    add<Q4_0, Shape<2, 8, 1, 2, 5, 2, 1>, Shape<2, 8, 1, 2, 3, 2>, Shape<1, 8, 2, 3, 3, 1>>();
    add<Q4_0, Shape<2, 8, 1, 2, 4, 2>, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 5, 1>>();
    add<Q4_0, Shape<4, 8, 1, 2, 5, 1>, Shape<4, 8, 1, 2, 5, 1>, Shape<4, 8, 1, 2, 3, 1>>();
    add<Q4_0, Shape<1, 8, 1, 2, 5, 3>, Shape<1, 8, 1, 2, 5, 2>, Shape<1, 8, 1, 2, 3, 2>>();
    add<Q4_0, Shape<1, 4, 1, 2, 5, 5>, Shape<2, 4, 4, 2, 5, 1>, Shape<2, 4, 4, 2, 3, 1>>();
    // The program's.
    add<Q4_K, Shape<2, 8, 1, 2, 5, 2>, Shape<2, 8, 2, 2, 5, 1>, Shape<2, 8, 2, 2, 3, 1>>();
    add<Q5_K, Shape<2, 8, 1, 2, 3, 2>, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 3, 1>>();
    add<Q6_K, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 3, 1>>();
    add<Q8_0, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 5, 1>, Shape<1, 8, 2, 2, 3, 1>>();
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

int main(int argc, char** argv) {
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    printf("%s, %d multiprocessors, %.0f MB of L2\n", properties.name,
           properties.multiProcessorCount, properties.l2CacheSize / 1e6);
    multiprocessors_ = properties.multiProcessorCount;
    CHECK(cudaStreamCreate(&stream_));
    add_all();
    if (argc == 3 && std::string(argv[1]) == "only") {
        const auto other = [&](const Variant& v) { return v.name.find(argv[2]) == std::string::npos; };
        variants.erase(std::remove_if(variants.begin(), variants.end(), other), variants.end());
    }
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
    CHECK(cudaMalloc(&x_, static_cast<size_t>(COLUMNS) / 4 * MOST_K / 64 * RECORD));
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
            // Weights are exact; sums are in f32.
            good &= error >= 0 && error < 1e-4;
        }
    }
    printf(good ? "all variants agree with the host\n" : "WRONG RESULTS\n");

    printf("\n%-72s %6s |%22s |%39s | %s\n", "one layer", "no PDL", "1 column",
           "us at 2, 4, 8, 16 columns, 16/1", "TB/s of qkv, out, gate+up, down | at 16");
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
        printf("%-72s %6.1f | %6.1f us  %5.2f TB/s |", v.name.c_str(), late, one, bytes / one / 1e6);
        float time = 0;
        for (int columns : {2, 4, 8, 16}) printf(" %6.1f", time = layer(columns, true));
        printf("  x%5.3f |", time / one);
        for (int columns : {1, 16}) {
            for (const Matrix& m : LAYER) {
                const int times = std::max(LAYERS, static_cast<int>(4e9 / matrix_bytes(v, m)) / 4);
                const size_t room = layer_most * LAYERS / matrix_bytes(v, m);
                const float each = measure([&] {
                    for (int i = 0; i < times; i++)
                        launch(v, weights_ + i % room * matrix_bytes(v, m), m, columns, true);
                });
                printf(" %5.2f", matrix_bytes(v, m) * times / each / 1e9);
            }
            printf(columns == 1 ? " |" : "\n");
        }
    }
    return good ? 0 : 1;
}

// Activations and gates of feature maps with the features last, each in one pass over memory.
//
// Every function takes the same three lists: whole numbers, real numbers, arrays. Maps are
// (batch, height, width, features); bordered ones lie within zeros, (batch, above + height + below,
// left + width + right, features). Threads share the rows, so their number changes no result.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

thread_local int num_threads = 1;  // of the call that is running

// 2^-n and exp(r) - 1 for x ≥ 0, where x = n·ln 2 - r with |r| ≤ ln 2 / 2: a polynomial in r
inline void split(float x, float& power, float& rest) {
    x = x > 80.0f ? 80.0f : x;  // NaN stays NaN
    const float shifted = x * 1.44269504f + 12582912.0f;  // whose last bits are n
    const float n = shifted - 12582912.0f;
    const float r = n * 0.693359375f - x + n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    rest = p * r * r + r;
    std::int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (0x4B400000 + 127 - bits) << 23;
    std::memcpy(&power, &bits, sizeof power);
}

inline float expm1_of_minus(float x) {
    float power, rest;
    split(x, power, rest);
    return power * rest + (power - 1.0f);
}

inline float exp_of_minus(float x) {
    float power, rest;
    split(x, power, rest);
    return power * rest + power;
}

inline double expm1_of_minus(double x) { return std::expm1(-x); }
inline double exp_of_minus(double x) { return std::exp(-x); }

template <typename T>
inline T sigmoid(T x) {
    const T e = exp_of_minus(std::fabs(x));
    return (x >= 0 ? T(1) : e) / (T(1) + e);
}

template <typename T>
inline T hyperbolic_tangent(T x) {
    const T e = expm1_of_minus(T(2) * std::fabs(x));
    const T result = -e / (T(2) + e);
    return x >= 0 ? result : -result;
}

// A number in which every bit depends on every bit of x (Wellons, lowbias32).
inline std::uint32_t mixed(std::uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

struct Maps {
    long batch, height, width, features, left, right, above, below;

    explicit Maps(const std::int64_t* n)
        : batch(n[0]), height(n[1]), width(n[2]), features(n[3]), left(n[4]), right(n[5]),
          above(n[6]), below(n[7]) {}

    long outer_height() const { return above + height + below; }
    long outer_width() const { return left + width + right; }
    long num_outer_rows() const { return batch * outer_height(); }

    // The same maps within another border, which stands at n.
    Maps within(const std::int64_t* n) const {
        const std::int64_t sizes[] = {batch, height, width, features, n[0], n[1], n[2], n[3]};
        return Maps(sizes);
    }

    // Where an inner row begins among the bordered pixels.
    long outer_start(long inner_row) const {
        const long row = inner_row / height * outer_height() + above + inner_row % height;
        return row * outer_width() + left;
    }

    // Calls with each row's place among the bordered rows and its place among the inner ones.
    template <typename Inner, typename Edge>
    void for_each_row(Inner inner, Edge edge) const {
#pragma omp parallel for num_threads(num_threads)
        for (long row = 0; row < num_outer_rows(); row++) {
            const long i = row % outer_height() - above;
            if (i < 0 || i >= height)
                edge(row);
            else
                inner(row, row / outer_height() * height + i);
        }
    }
};

template <typename T>
void zero(T* x, long count) {
    std::memset(x, 0, count * sizeof(T));
}

// What is done with x: ELU times a scale (ReLU for alpha = 0), also of -x, after dropping values.
template <typename T>
struct Activation {
    T alpha, scale;
    std::uint32_t dropped, seed, other_seed;  // values whose 16 random bits lie below are dropped

    Activation(const std::int64_t* n, const double* r)
        : alpha(T(r[0])), scale(T(r[1])), dropped(std::uint32_t(n[0])),
          seed(std::uint32_t(n[1])), other_seed(std::uint32_t(std::uint64_t(n[1]) >> 32)) {}

    std::uint32_t key(long pixel) const {
        return mixed(mixed(std::uint32_t(pixel) ^ seed) + other_seed);
    }

    template <bool doubled, bool drops>
    void forward(const T* x, T* y, long features, std::uint32_t key) const {
        T* negative = y + features;
        const T alpha = this->alpha, scale = this->scale;
        const std::uint32_t dropped = this->dropped;
#pragma omp simd
        for (long c = 0; c < features; c++) {
            const T v = x[c], e = alpha * scale * expm1_of_minus(std::fabs(v)), w = scale * v;
            std::uint32_t bits = 0;
            if (drops) bits = mixed(key + std::uint32_t(c) * 0x9E3779B9u);
            const T first = v > 0 ? w : e;
            y[c] = drops && (bits & 0xFFFF) < dropped ? T(0) : first;
            if (doubled) {
                const T second = v > 0 ? e : -w;
                negative[c] = drops && (bits >> 16) < dropped ? T(0) : second;
            }
        }
    }

    // y is what forward gave, g its gradient; the result is added to what the gradient is so far.
    template <bool doubled, bool drops>
    void backward(const T* y, const T* g, T* gradient, long features, std::uint32_t key) const {
        const T *negative = y + features, *of_negative = g + features;
        const T scale = this->scale, floor = alpha * scale;
        const std::uint32_t dropped = this->dropped;
#pragma omp simd
        for (long c = 0; c < features; c++) {
            std::uint32_t bits = 0;
            if (drops) bits = mixed(key + std::uint32_t(c) * 0x9E3779B9u);
            const T first = g[c] * (y[c] > 0 ? scale : y[c] + floor);
            T total = drops && (bits & 0xFFFF) < dropped ? T(0) : first;
            if (doubled) {
                const T slope = negative[c] > 0 ? scale : negative[c] + floor;
                const T second = of_negative[c] * slope;
                total -= drops && (bits >> 16) < dropped ? T(0) : second;
            }
            gradient[c] += total;
        }
    }
};

template <typename T, bool doubled, bool drops>
void activate(const std::int64_t* n, const double* r, void* const* arrays) {
    const Maps maps(n);
    const Activation<T> activation(n + 10, r);
    const long features = maps.features, wide = doubled ? 2 * features : features;
    const long num_parts = n[8];
    T* const result = static_cast<T*>(arrays[0]);
    maps.for_each_row(
        [&](long row, long inner_row) {
            T* const line = result + row * maps.outer_width() * wide;
            zero(line, maps.left * wide);
            zero(line + (maps.left + maps.width) * wide, maps.right * wide);
            for (long j = 0; j < maps.width; j++) {
                const long pixel = inner_row * maps.width + j;
                const T* x = static_cast<T*>(arrays[1]) + pixel * features;
                T* const y = line + (maps.left + j) * wide;
                if (num_parts > 1) {  // the sum stands for a moment where the result will
                    for (long c = 0; c < features; c++) y[c] = x[c];
                    for (long part = 1; part < num_parts; part++) {
                        const long start = maps.within(n + 8 + 4 * part).outer_start(inner_row);
                        const T* more = static_cast<T*>(arrays[1 + part]) + (start + j) * features;
                        for (long c = 0; c < features; c++) y[c] += more[c];
                    }
                    x = y;
                }
                activation.template forward<doubled, drops>(x, y, features, activation.key(pixel));
            }
        },
        [&](long row) { zero(result + row * maps.outer_width() * wide, maps.outer_width() * wide); });
}

template <typename T, bool doubled, bool drops>
void activate_backward(const std::int64_t* n, const double* r, void* const* arrays) {
    const Maps maps(n);
    const Activation<T> activation(n + 10, r);
    const long features = maps.features, wide = doubled ? 2 * features : features;
    const T* const result = static_cast<T*>(arrays[0]);
    const T* const given = static_cast<T*>(arrays[1]);
    T* const gradient = static_cast<T*>(arrays[2]);
    const long num_parts = n[8], size = maps.width * features;
    // for every further part the same once more, within its own zeros
    for (long part = 1; part < num_parts; part++) {
        const Maps own = maps.within(n + 8 + 4 * part);
        const long line = own.outer_width() * features;
        T* more = static_cast<T*>(arrays[2 + part]);
        for (long b = 0; b < own.batch; b++, more += own.outer_height() * line) {
            zero(more, own.above * line);
            zero(more + (own.above + own.height) * line, own.below * line);
        }
    }
    maps.for_each_row(
        [&](long row, long inner_row) {
            T* const inner = gradient + inner_row * size;
            zero(inner, size);
            for (long j = 0; j < maps.width; j++) {
                const long place = (row * maps.outer_width() + maps.left + j) * wide;
                activation.template backward<doubled, drops>(
                    result + place, given + place, inner + j * features, features,
                    activation.key(inner_row * maps.width + j));
            }
            for (long part = 1; part < num_parts; part++) {
                const Maps own = maps.within(n + 8 + 4 * part);
                T* const more =
                    static_cast<T*>(arrays[2 + part]) + own.outer_start(inner_row) * features;
                zero(more - own.left * features, own.left * features);
                std::memcpy(more, inner, size * sizeof(T));
                zero(more + size, own.right * features);
            }
        },
        [](long) {});
}

// y = x + a·σ(b), and its activation
template <typename T, bool doubled>
void gate(const std::int64_t* n, const double* r, void* const* arrays) {
    const Maps maps(n);
    const Activation<T> activation(n + 10, r);
    const long features = maps.features, wide = doubled ? 2 * features : features;
    T* const result = static_cast<T*>(arrays[0]);
    T* const sum = static_cast<T*>(arrays[1]);
    const T* const x = static_cast<T*>(arrays[2]);
    const T* const both = static_cast<T*>(arrays[3]);
    maps.for_each_row(
        [&](long row, long inner_row) {
            T* const line = result + row * maps.outer_width() * wide;
            zero(line, maps.left * wide);
            zero(line + (maps.left + maps.width) * wide, maps.right * wide);
            for (long j = 0; j < maps.width; j++) {
                const long place = (inner_row * maps.width + j) * features;
                const T *a = both + 2 * place, *b = a + features, *from = x + place;
                T* const y = sum + place;
#pragma omp simd
                for (long c = 0; c < features; c++) y[c] = from[c] + a[c] * sigmoid(b[c]);
                activation.template forward<doubled, false>(
                    y, line + (maps.left + j) * wide, features, 0);
            }
        },
        [&](long row) { zero(result + row * maps.outer_width() * wide, maps.outer_width() * wide); });
}

template <typename T, bool doubled>
void gate_backward(const std::int64_t* n, const double* r, void* const* arrays) {
    const Maps maps(n);
    const Activation<T> activation(n + 10, r);
    const long features = maps.features, wide = doubled ? 2 * features : features;
    T* const gradient = static_cast<T*>(arrays[0]);
    T* const of_both = static_cast<T*>(arrays[1]);
    const T* const result = static_cast<T*>(arrays[2]);
    const T* const both = static_cast<T*>(arrays[3]);
    const T* const of_result = static_cast<T*>(arrays[4]);  // null where nobody reads it
    const T* const of_sum = static_cast<T*>(arrays[5]);     // or this
    maps.for_each_row(
        [&](long row, long inner_row) {
            for (long j = 0; j < maps.width; j++) {
                const long place = (inner_row * maps.width + j) * features;
                const long outer = (row * maps.outer_width() + maps.left + j) * wide;
                T* const g = gradient + place;
                for (long c = 0; c < features; c++) g[c] = of_sum ? of_sum[place + c] : T(0);
                if (of_result)
                    activation.template backward<doubled, false>(
                        result + outer, of_result + outer, g, features, 0);
                const T *a = both + 2 * place, *b = a + features;
                T *of_a = of_both + 2 * place, *of_b = of_a + features;
#pragma omp simd
                for (long c = 0; c < features; c++) {
                    const T open = sigmoid(b[c]);
                    of_a[c] = g[c] * open;
                    of_b[c] = g[c] * a[c] * open * (T(1) - open);
                }
            }
        },
        [](long) {});
}

// tanh(a)·σ(b) of a sum of maps
template <typename T>
void tanh_gate(const std::int64_t* n, void* const* arrays) {
    const long num_pixels = n[0], features = n[1], num_parts = n[2];
    T* const result = static_cast<T*>(arrays[0]);
#pragma omp parallel for num_threads(num_threads)
    for (long pixel = 0; pixel < num_pixels; pixel++) {
        const T* a = static_cast<T*>(arrays[1]) + 2 * pixel * features;
        const T* more = num_parts > 1 ? static_cast<T*>(arrays[2]) + 2 * pixel * features : nullptr;
        T* const y = result + pixel * features;
#pragma omp simd
        for (long c = 0; c < features; c++) {
            const T value = more ? a[c] + more[c] : a[c];
            const T opening = more ? a[features + c] + more[features + c] : a[features + c];
            y[c] = hyperbolic_tangent(value) * sigmoid(opening);
        }
    }
}

template <typename T>
void tanh_gate_backward(const std::int64_t* n, void* const* arrays) {
    const long num_pixels = n[0], features = n[1], num_parts = n[2];
    T* const gradient = static_cast<T*>(arrays[0]);
    const T* const given = static_cast<T*>(arrays[1]);
#pragma omp parallel for num_threads(num_threads)
    for (long pixel = 0; pixel < num_pixels; pixel++) {
        const T* a = static_cast<T*>(arrays[2]) + 2 * pixel * features;
        const T* more = num_parts > 1 ? static_cast<T*>(arrays[3]) + 2 * pixel * features : nullptr;
        const T* const g = given + pixel * features;
        T* const of_value = gradient + 2 * pixel * features;
        T* const of_opening = of_value + features;
#pragma omp simd
        for (long c = 0; c < features; c++) {
            const T value = hyperbolic_tangent(more ? a[c] + more[c] : a[c]);
            const T open = sigmoid(more ? a[features + c] + more[features + c] : a[features + c]);
            of_value[c] = g[c] * open * (T(1) - value * value);
            of_opening[c] = g[c] * value * open * (T(1) - open);
        }
    }
}

template <typename T>
void run(int which, const std::int64_t* n, const double* r, void* const* arrays) {
    const bool doubled = which < 4 && n[9], drops = which < 2 && n[10] > 0;
    switch (which) {
        case 0:
            return (doubled ? (drops ? activate<T, true, true> : activate<T, true, false>)
                            : (drops ? activate<T, false, true> : activate<T, false, false>))(
                n, r, arrays);
        case 1:
            return (doubled ? (drops ? activate_backward<T, true, true>
                                     : activate_backward<T, true, false>)
                            : (drops ? activate_backward<T, false, true>
                                     : activate_backward<T, false, false>))(n, r, arrays);
        case 2:
            return (doubled ? gate<T, true> : gate<T, false>)(n, r, arrays);
        case 3:
            return (doubled ? gate_backward<T, true> : gate_backward<T, false>)(n, r, arrays);
        case 4:
            return tanh_gate<T>(n, arrays);
        case 5:
            return tanh_gate_backward<T>(n, arrays);
    }
}

}  // namespace

extern "C" void run_float(int which, int threads, const std::int64_t* n, const double* r, void** arrays) {
    num_threads = threads;
    run<float>(which, n, r, arrays);
}

extern "C" void run_double(int which, int threads, const std::int64_t* n, const double* r, void** arrays) {
    num_threads = threads;
    run<double>(which, n, r, arrays);
}

/* Parts of a float32 forward pass on a CPU: attention without a mask, and element-wise parts of a layer in one pass.

   `evalkit.engines.cpu_kernels` compiles this file for the processor at hand and compares every function with torch's
   before its first use.  Everything is computed row by row, so a row's result does not depend on what is beside it.
   Strides and sizes are in floats.  */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__AVX512F__)
enum { LANES = 16, VECTORS = 4 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { LANES = 8, VECTORS = 2 };
#else
#error "written for AVX-512 and for AVX2"
#endif
/* A product is computed in tiles of ROWS x TILE sums, as many as the registers hold. */
enum { ROWS = 6, TILE = LANES * VECTORS, ROWS_OF_TASK = 16 * ROWS, PART = 4096 };

typedef float vector __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(LANES * 4)));
typedef uint32_t bits __attribute__((vector_size(LANES * 4)));

static inline vector load(const float *from) { return *(const loose *)from; }
static inline void store(float *to, vector v) { *(loose *)to = v; }
static inline vector all(float x) { return x - (vector){0}; }

static inline vector choose(integers first, vector a, vector b)
{
    return (vector)((first & (integers)a) | (~first & (integers)b));
}

/* Powers of e: 2^n times a polynomial (Cephes' coefficients), off by 2e-7 of the value.  NaN gives NaN; below -87.68,
   where n is -127 and the bits of 2^n are those of 0, the result is 0, and above 88.38, where n is 128, infinite. */
static inline vector power_of_e(vector x)
{
    const vector shift = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    x = choose(x < -88.0f, all(-88.0f), x);
    x = choose(x > 89.0f, all(89.0f), x);
    const vector shifted = x * 1.44269504088896341f + shift;
    const bits n = (bits)shifted - (bits)shift; /* without a sign, so that NaN's bits are not an overflow */
    const vector whole = shifted - shift;
    const vector r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vector)((n + 127) << 23);
}

static inline float sum(vector v)
{
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

static inline float largest(vector v)
{
    float found = v[0];
    for (int i = 1; i < LANES; i++) found = v[i] > found ? v[i] : found;
    return found;
}

/* out (ROWS, TILE) = a (ROWS, n) times b (n, TILE); `stride` is that of the rows of out. */
static inline void product(const float *const *a, const float *b, int64_t n, float *out, int64_t stride)
{
    vector sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) sums[r][v] = all(0);
    for (int64_t k = 0; k < n; k++) {
        vector row[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) row[v] = load(b + k * TILE + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const float x = a[r][k];
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++) sums[r][v] += x * row[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) store(out + r * stride + v * LANES, sums[r][v]);
}

/* Powers of e of the first `seen` of `width` scores less their maximum, 0 for the others; returns 1 / their sum. */
static inline float softmax(float *scores, int64_t seen, int64_t width)
{
    for (int64_t j = seen; j < width; j++) scores[j] = -INFINITY;
    vector most = all(-INFINITY), total = all(0);
    for (int64_t j = 0; j < width; j += LANES) {
        const vector here = load(scores + j);
        most = choose(here > most, here, most);
    }
    const vector top = all(largest(most));
    for (int64_t j = 0; j < width; j += LANES) {
        const vector power = power_of_e(load(scores + j) - top);
        store(scores + j, power);
        if (j + LANES <= seen) total += power;
    }
    float rest = 0;
    for (int64_t j = seen / LANES * LANES; j < seen; j++) rest += scores[j];
    for (int64_t j = seen; j < width; j++) scores[j] = 0;
    return 1.0f / (sum(total) + rest);
}

/* Keys and values of one head in tiles: keys (tiles, size, TILE), values (tiles of size, places, TILE), 0 as padding. */
static void arrange(const float *keys, const float *values, int64_t places, int64_t size, int64_t key_stride,
                    int64_t value_stride, float *keys_to, float *values_to)
{
    const int64_t tiles = (places + TILE - 1) / TILE;
    for (int64_t place = 0; place < tiles * TILE; place++) {
        float *column = keys_to + place / TILE * TILE * size + place % TILE;
        for (int64_t d = 0; d < size; d++) column[d * TILE] = place < places ? keys[place * key_stride + d] : 0;
    }
    for (int64_t first = 0; first < size; first += TILE)
        for (int64_t place = 0; place < places; place++, values_to += TILE)
            for (int64_t d = 0; d < TILE; d++)
                values_to[d] = first + d < size ? values[place * value_stride + first + d] : 0;
}

/* Where a tensor (rows, heads, places, size) has an element's head. */
static inline int64_t at(const int64_t *strides, int64_t row, int64_t head, int64_t place)
{
    return row * strides[0] + head * strides[1] + place * strides[2];
}

/* Attention of query (rows, heads, queries, size) to key and value (rows, key_heads, places, size), size contiguous.

   shape: rows, heads, key_heads, queries, places, size.  causal: query i attends to the places up to i, of which there
   are as many as queries.  Returns 0, or 1 without a result if there is no memory. */
int attention(const float *query, const float *key, const float *value, float *out, const int64_t *shape,
              const int64_t *query_strides, const int64_t *key_strides, const int64_t *value_strides,
              const int64_t *out_strides, float scale, int causal)
{
    const int64_t rows = shape[0], heads = shape[1], key_heads = shape[2], queries = shape[3], places = shape[4];
    const int64_t size = shape[5], each = heads / key_heads, items = queries * each;
    const int64_t width = (places + TILE - 1) / TILE * TILE, columns = (size + TILE - 1) / TILE * TILE;
    const int64_t of_keys = width * size, of_head = of_keys + places * columns;
    const int64_t parts = (items + ROWS_OF_TASK - 1) / ROWS_OF_TASK;
    float *arranged = malloc(sizeof(float) * of_head * rows * key_heads);
    int failed = arranged == NULL;
    if (failed) return failed;
#pragma omp parallel for
    for (int64_t i = 0; i < rows * key_heads; i++) {
        const float *keys = key + at(key_strides, i / key_heads, i % key_heads, 0);
        const float *values = value + at(value_strides, i / key_heads, i % key_heads, 0);
        float *to = arranged + i * of_head;
        arrange(keys, values, places, size, key_strides[2], value_strides[2], to, to + of_keys);
    }
    /* The query heads of a key head are rows of one product; later queries, which see more places, come first. */
#pragma omp parallel for schedule(dynamic) reduction(|| : failed)
    for (int64_t task = 0; task < rows * key_heads * parts; task++) {
        const int64_t i = task % (rows * key_heads), row = i / key_heads, group = i % key_heads;
        const int64_t begin = (parts - 1 - task / (rows * key_heads)) * ROWS_OF_TASK;
        const int64_t end = begin + ROWS_OF_TASK < items ? begin + ROWS_OF_TASK : items;
        const float *keys = arranged + i * of_head, *values = keys + of_keys;
        float *memory = malloc(sizeof(float) * ROWS * (width + size + TILE));
        if (memory == NULL) {
            failed = 1;
            continue;
        }
        float *scores = memory, *scaled = scores + ROWS * width, *sums = scaled + ROWS * size;
        for (int64_t first = begin; first < end; first += ROWS) {
            const float *query_rows[ROWS], *score_rows[ROWS];
            float inverse[ROWS];
            int64_t seen[ROWS], most = 0;
            for (int r = 0; r < ROWS; r++) { /* the last item fills the rows after it */
                const int64_t item = first + r < items ? first + r : items - 1, place = item / each;
                const float *from = query + at(query_strides, row, group * each + item % each, place);
                for (int64_t d = 0; d < size; d++) scaled[r * size + d] = from[d] * scale;
                query_rows[r] = scaled + r * size;
                score_rows[r] = scores + r * width;
                seen[r] = causal ? place + 1 : places;
                most = seen[r] > most ? seen[r] : most;
            }
            const int64_t used = (most + TILE - 1) / TILE * TILE;
            for (int64_t j = 0; j < used; j += TILE) product(query_rows, keys + j * size, size, scores + j, width);
            for (int r = 0; r < ROWS; r++) inverse[r] = softmax(scores + r * width, seen[r], used);
            for (int64_t d = 0; d < columns; d += TILE) {
                product(score_rows, values + d * places, most, sums, TILE);
                const int64_t n = size - d < TILE ? size - d : TILE;
                for (int r = 0; r < ROWS && first + r < end; r++) {
                    const int64_t head = group * each + (first + r) % each;
                    float *to = out + at(out_strides, row, head, (first + r) / each) + d;
                    for (int64_t j = 0; j < n; j++) to[j] = sums[r * TILE + j] * inverse[r];
                }
            }
        }
        free(memory);
    }
    free(arranged);
    return failed;
}

/* The two below work on `count` floats in parts, the last of which may end within a vector. */
static inline vector some(const float *from, int64_t n)
{
    vector v = all(0);
    if (n >= LANES) return load(from);
    for (int64_t i = 0; i < n; i++) v[i] = from[i];
    return v;
}

static inline void store_some(float *to, vector v, int64_t n)
{
    if (n >= LANES) store(to, v);
    else
        for (int64_t i = 0; i < n; i++) to[i] = v[i];
}

/* gate = SiLU(gate) * up */
void silu_product(float *gate, const float *up, int64_t count)
{
#pragma omp parallel for
    for (int64_t part = 0; part < count; part += PART)
        for (int64_t i = part; i < part + PART && i < count; i += LANES) {
            const vector x = some(gate + i, count - i);
            store_some(gate + i, x / (power_of_e(-x) + 1.0f) * some(up + i, count - i), count - i);
        }
}

/* out = x * sigmoid(1.702 x) */
void quick_gelu(const float *x, float *out, int64_t count)
{
#pragma omp parallel for
    for (int64_t part = 0; part < count; part += PART)
        for (int64_t i = part; i < part + PART && i < count; i += LANES) {
            const vector v = some(x + i, count - i);
            store_some(out + i, v / (power_of_e(v * -1.702f) + 1.0f), count - i);
        }
}

/* out (rows, size) = weight * x / sqrt(mean of x^2 + epsilon); size is a multiple of 16. */
void rms_norm(const float *x, const float *weight, float *out, int64_t rows, int64_t size, float epsilon)
{
#pragma omp parallel for
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * size;
        float *to = out + row * size;
        vector squares = all(0);
        for (int64_t i = 0; i < size; i += LANES) squares += load(from + i) * load(from + i);
        const float factor = 1.0f / sqrtf(sum(squares) / (float)size + epsilon);
        for (int64_t i = 0; i < size; i += LANES) store(to + i, load(from + i) * factor * load(weight + i));
    }
}

/* Rotary position embedding: out = x * cosine + (-second half of x, first half) * sine.

   x (rows, heads, places, size) with strides; cosine and sine (rows, places, size) and out (rows, places, heads, size)
   are contiguous.  shape: rows, heads, places, size, which is a multiple of 32. */
void rotate(const float *x, const float *cosine, const float *sine, float *out, const int64_t *shape,
            const int64_t *strides)
{
    const int64_t heads = shape[1], places = shape[2], size = shape[3], half = size / 2;
#pragma omp parallel for
    for (int64_t i = 0; i < shape[0] * places; i++) {
        const float *c = cosine + i * size, *s = sine + i * size;
        for (int64_t head = 0; head < heads; head++) {
            const float *from = x + at(strides, i / places, head, i % places);
            float *to = out + (i * heads + head) * size;
            for (int64_t j = 0; j < half; j += LANES) {
                const vector a = load(from + j), b = load(from + half + j);
                store(to + j, a * load(c + j) - b * load(s + j));
                store(to + half + j, b * load(c + half + j) + a * load(s + half + j));
            }
        }
    }
}

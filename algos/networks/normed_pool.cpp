// Batch norm, the largest of every 2 x 2 and ReLU in one pass each way; frisket/algos/networks/normed_pool.py says what is
// computed and calls it. Numbers are float, [N, H, W, C] in memory; an odd last row or column has no place in a 2 x 2.
//
// Channels lie side by side and go through the same operations, BLOCK of them at a time: loops of a fixed length become
// vector instructions, and every sum is taken in the order that is written here, whatever the compiler. Sums are of float
// within a picture and of double over pictures.

#include <cmath>
#include <cstdint>
#include <vector>

#define ALWAYS static inline __attribute__((always_inline))
typedef int64_t whole;
typedef std::vector<double> Sums;
typedef std::vector<float> Floats;

static const whole BLOCK = 16, WIDE = 64;
static const uint8_t NOWHERE = 4; // ReLU has let nothing through; 0 to 3 are the places of a 2 x 2, row by row

struct Shape {
    whole n, h, w, c;
    whole pixels() const { return h * w; }
    whole windows() const { return (h / 2) * (w / 2); }
    double count() const { return (double)n * h * w; }
};

// block(first channel, number of them), the number a constant wherever it can be
template <whole WIDTH, class Block> ALWAYS void blocks(whole c, Block block)
{
    whole k = 0;
    for (; k + WIDTH <= c; k += WIDTH)
        block(k, WIDTH);
    if (k < c)
        block(k, c - k);
}

// Sums over all places of two numbers of every channel: term(place, channel, first, second)
template <class Term> ALWAYS void summed(whole n, whole places, whole c, double *first, double *second, Term term)
{
    for (whole k = 0; k < c; k++)
        first[k] = second[k] = 0;
    for (whole i = 0; i < n; i++)
        blocks<WIDE>(c, [&](whole k0, whole width) __attribute__((always_inline)) {
            float a[WIDE] = {0}, b[WIDE] = {0};
            for (whole p = i * places; p < (i + 1) * places; p++)
                for (whole k = 0; k < width; k++) {
                    float one, other;
                    term(p * c + k0 + k, k0 + k, one, other);
                    a[k] += one;
                    b[k] += other;
                }
            for (whole k = 0; k < width; k++) {
                first[k0 + k] += a[k];
                second[k0 + k] += b[k];
            }
        });
}

// inside(window, its four places) of every 2 x 2, outside(place) of every place without one; as offsets of channel 0
template <class Inside, class Outside> ALWAYS void walked(Shape s, Inside inside, Outside outside)
{
    const whole ho = s.h / 2, wo = s.w / 2, row = s.w * s.c;
    for (whole i = 0; i < s.n; i++) {
        const whole picture = i * s.pixels() * s.c;
        for (whole y = 0; y < ho; y++) {
            const whole top = picture + 2 * y * row;
            for (whole z = 0; z < wo; z++) {
                const whole at = top + 2 * z * s.c;
                const whole places[4] = {at, at + s.c, at + row, at + row + s.c};
                inside(((i * ho + y) * wo + z) * s.c, places);
            }
            if (s.w % 2)
                for (whole below = 0; below < 2; below++)
                    outside(top + below * row + (s.w - 1) * s.c);
        }
        if (s.h % 2)
            for (whole z = 0; z < s.w; z++)
                outside(picture + (s.h - 1) * row + z * s.c);
    }
}

extern "C" {

// mean and r, one over the standard deviation, of every channel of x, and the variance
void statistics(const float *__restrict__ x, whole n, whole h, whole w, whole c, double epsilon, float *__restrict__ mean,
                float *__restrict__ r, float *__restrict__ variance)
{
    const Shape s = {n, h, w, c};
    Floats shift(x, x + c); // near the mean, so that squares do not cancel
    Sums first(c), second(c);
    const float *from = shift.data();
    summed(n, s.pixels(), c, first.data(), second.data(), [&](whole at, whole k, float &a, float &b) __attribute__((always_inline)) {
        a = x[at] - from[k];
        b = a * a;
    });
    for (whole k = 0; k < c; k++) {
        const double away = first[k] / s.count(), spread = second[k] / s.count() - away * away;
        mean[k] = (float)(shift[k] + away);
        variance[k] = (float)(spread > 0 || spread != spread ? spread : 0);
        // what overflows is no number: numbers by a deviation without end would all be 0, and nobody would see it
        r[k] = std::isfinite(variance[k]) ? (float)(1 / std::sqrt((double)variance[k] + epsilon)) : NAN;
    }
}

// out: ReLU of the largest; chosen: (x - mean) r at its place; place: which one
void forward(const float *__restrict__ x, whole n, whole h, whole w, whole c, const float *__restrict__ gain,
             const float *__restrict__ shift, const float *__restrict__ mean, const float *__restrict__ r,
             float *__restrict__ out, float *__restrict__ chosen, uint8_t *__restrict__ place)
{
    const Shape s = {n, h, w, c};
    Floats slopes(c), levels(c);
    float *slope = slopes.data(), *level = levels.data();
    for (whole k = 0; k < c; k++) {
        slope[k] = gain[k] * r[k];
        level[k] = shift[k] - mean[k] * slope[k];
    }
    walked(s, [&](whole to, const whole *from) __attribute__((always_inline)) {
        blocks<BLOCK>(c, [&](whole k0, whole width) __attribute__((always_inline)) {
            int32_t found[BLOCK]; // narrowed apart: one loop over numbers of two sizes would go by the smaller
            for (whole k = 0; k < width; k++) {
                const float a = slope[k0 + k], b = level[k0 + k];
                float value = x[from[0] + k0 + k], most = value * a + b;
                int32_t where = 0;
                for (int32_t i = 1; i < 4; i++) {
                    const float given = x[from[i] + k0 + k], here = given * a + b;
                    const bool larger = (here > most) | (here != here); // what is not a number goes through
                    most = larger ? here : most;
                    value = larger ? given : value;
                    where = larger ? i : where;
                }
                out[to + k0 + k] = most <= 0 ? 0 : most;
                chosen[to + k0 + k] = (value - mean[k0 + k]) * r[k0 + k];
                found[k] = most <= 0 ? NOWHERE : where;
            }
            for (whole k = 0; k < width; k++)
                place[to + k0 + k] = (uint8_t)found[k];
        });
    }, [](whole) {});
}

// The gradients by x, gain and shift, of g by out
void backward(const float *__restrict__ x, whole n, whole h, whole w, whole c, const float *__restrict__ g,
              const float *__restrict__ gain, const float *__restrict__ mean, const float *__restrict__ r,
              const float *__restrict__ chosen, const uint8_t *__restrict__ place, float *__restrict__ by_x,
              float *__restrict__ by_gain, float *__restrict__ by_shift)
{
    const Shape s = {n, h, w, c};
    Sums sums(2 * c);
    double *sum_g = sums.data(), *sum_gh = sum_g + c;
    summed(n, s.windows(), c, sum_g, sum_gh, [&](whole at, whole, float &a, float &b) __attribute__((always_inline)) {
        a = place[at] == NOWHERE ? 0 : g[at];
        b = a * chosen[at];
    });
    Floats slopes(c), alongs(c), levels(c);
    float *slope = slopes.data(), *along = alongs.data(), *level = levels.data();
    for (whole k = 0; k < c; k++) {
        by_gain[k] = (float)sum_gh[k];
        by_shift[k] = (float)sum_g[k];
        slope[k] = gain[k] * r[k];
        along[k] = (float)(-(double)slope[k] * r[k] * sum_gh[k] / s.count());
        level[k] = (float)(-(double)slope[k] * sum_g[k] / s.count() - (double)along[k] * mean[k]);
    }
    walked(s, [&](whole from, const whole *to) __attribute__((always_inline)) {
        blocks<BLOCK>(c, [&](whole k0, whole width) __attribute__((always_inline)) {
            for (int32_t i = 0; i < 4; i++)
                for (whole k = 0; k < width; k++) {
                    const float own = (int32_t)place[from + k0 + k] == i ? g[from + k0 + k] * slope[k0 + k] : 0;
                    by_x[to[i] + k0 + k] = x[to[i] + k0 + k] * along[k0 + k] + level[k0 + k] + own;
                }
        });
    }, [&](whole to) __attribute__((always_inline)) {
        for (whole k = 0; k < c; k++)
            by_x[to + k] = x[to + k] * along[k] + level[k];
    });
}

// The gradients by g, x and gain of what `backward` gives: u, p and q are those by its by_x, by_gain and by_shift
void second(const float *__restrict__ x, whole n, whole h, whole w, whole c, const float *__restrict__ u,
            const float *__restrict__ p, const float *__restrict__ q, const float *__restrict__ g,
            const float *__restrict__ gain, const float *__restrict__ mean, const float *__restrict__ r,
            const float *__restrict__ chosen, const uint8_t *__restrict__ place, const float *__restrict__ sum_gh,
            const float *__restrict__ sum_g, float *__restrict__ by_g, float *__restrict__ by_x,
            float *__restrict__ by_gain)
{
    const Shape s = {n, h, w, c};
    Sums sums(4 * c);
    double *sum_u = sums.data(), *sum_uh = sum_u + c, *sum_ug = sum_uh + c, *unused = sum_ug + c;
    summed(n, s.pixels(), c, sum_u, sum_uh, [&](whole at, whole k, float &a, float &b) __attribute__((always_inline)) {
        a = u[at];
        b = a * ((x[at] - mean[k]) * r[k]);
    });
    // u at the chosen places, kept where by_g will lie
    walked(s, [&](whole to, const whole *from) __attribute__((always_inline)) {
        blocks<BLOCK>(c, [&](whole k0, whole width) __attribute__((always_inline)) {
            int32_t wanted[BLOCK];
            for (whole k = 0; k < width; k++)
                wanted[k] = place[to + k0 + k];
            for (whole k = 0; k < width; k++) {
                float picked = 0;
                for (int32_t i = 0; i < 4; i++) {
                    const float given = u[from[i] + k0 + k];
                    picked = wanted[k] == i ? given : picked;
                }
                by_g[to + k0 + k] = picked;
            }
        });
    }, [](whole) {});
    summed(n, s.windows(), c, sum_ug, unused, [&](whole at, whole, float &a, float &b) __attribute__((always_inline)) {
        a = by_g[at] * g[at];
        b = 0;
    });
    Floats all(7 * c);
    float *slope = all.data(), *tilt = slope + c, *base = tilt + c;           // of by_g: in u, in h, constant
    float *of_g = base + c, *of_u = of_g + c, *of_x = of_u + c, *level = of_x + c; // of by_x
    for (whole k = 0; k < c; k++) {
        const double m = s.count(), a = (double)gain[k] * r[k];
        const double both = sum_ug[k] - (sum_u[k] * sum_g[k] + sum_uh[k] * sum_gh[k]) / m;
        const double by_h = p[k] - a * sum_uh[k] / m, along_u = -a * sum_gh[k] / m;
        by_gain[k] = (float)(r[k] * both);
        slope[k] = (float)a;
        tilt[k] = (float)by_h;
        base[k] = (float)(q[k] - a * sum_u[k] / m);
        of_g[k] = (float)(r[k] * by_h);
        of_u[k] = (float)(r[k] * along_u);
        const double sum_c = by_h * sum_g[k] + along_u * sum_u[k], sum_ch = by_h * sum_gh[k] + along_u * sum_uh[k];
        const double by_each_h = -(double)r[k] * (sum_ch + a * both) / m;
        of_x[k] = (float)(by_each_h * r[k]);
        level[k] = (float)(-(double)r[k] * sum_c / m - by_each_h * r[k] * mean[k]);
    }
    walked(s, [&](whole from, const whole *to) __attribute__((always_inline)) {
        blocks<BLOCK>(c, [&](whole k0, whole width) __attribute__((always_inline)) {
            for (int32_t i = 0; i < 4; i++)
                for (whole k = 0; k < width; k++) {
                    const float own = (int32_t)place[from + k0 + k] == i ? g[from + k0 + k] * of_g[k0 + k] : 0;
                    const whole at = to[i] + k0 + k;
                    by_x[at] = x[at] * of_x[k0 + k] + u[at] * of_u[k0 + k] + level[k0 + k] + own;
                }
            for (whole k = 0; k < width; k++) {
                const whole at = from + k0 + k;
                const float found = by_g[at] * slope[k0 + k] + chosen[at] * tilt[k0 + k] + base[k0 + k];
                by_g[at] = place[at] == NOWHERE ? 0 : found;
            }
        });
    }, [&](whole to) __attribute__((always_inline)) {
        for (whole k = 0; k < c; k++)
            by_x[to + k] = x[to + k] * of_x[k] + u[to + k] * of_u[k] + level[k];
    });
}
}

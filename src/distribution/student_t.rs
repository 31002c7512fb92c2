//! Student's t distribution.

use super::family::*;
use super::*;
use crate::kernels::family::gamma as kernel;
use crate::kernels::number::incomplete_beta::{self, Share};
use crate::kernels::number::{self, saddle};
use std::f64::consts::{LN_2, PI};

const PARAMETERS: Domains<3> = [
    ("df", Domain::Positive),
    ("loc", Domain::Real),
    ("scale", Domain::Positive),
];

/// Student's t distribution with `df` degrees of freedom, moved by `loc` and stretched by `scale`.
///
/// Formula: `log p(x) = ln Gamma((df + 1)/2) - ln Gamma(df/2) - ln(df pi)/2 - ln scale - (df + 1)/2 ln(1 + t^2 / df)` with
/// `t = (x - loc) / scale`.
///
/// Shapes: `df`, `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise; a draw is `loc + scale z sqrt(df / (2 g))` for a standard normal z and a gamma draw g with
/// concentration `df / 2`, which moves with it by implicit reparameterization. First derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; degrees of freedom or scales that are not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, StudentT};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// // One degree of freedom: the Cauchy distribution.
/// let t = StudentT::new(&number(1.)?, &number(0.)?, &number(1.)?)?;
/// assert!((t.cdf(&number(1.)?)?.to_scalar::<f64>()? - 0.75).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the density and both tails of the cdf keep their digits as logarithms, also where `t^2` or t overflow, and the
/// slopes to many degrees of freedom theirs. The gamma draw is made as a logarithm, so that a draw
/// is as far out as its dtype reaches even for a hundredth of a degree of freedom.
///
/// Source: Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, section 3.
#[derive(Debug, Clone)]
pub struct StudentT(pub(super) Parameters<3>);

impl StudentT {
    /// From degrees of freedom, location and scale.
    pub fn new(df: &Tensor, loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("StudentT::new", PARAMETERS, [df, loc, scale]).map(StudentT)
    }

    /// As [`new`](StudentT::new), without looking at the parameters' values.
    pub fn new_unchecked(df: &Tensor, loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("StudentT::new_unchecked", PARAMETERS, [df, loc, scale]).map(StudentT)
    }

    /// The degrees of freedom, shape `batch`.
    pub fn df(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The median, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(1)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(2)
    }
}

/// The log-density of the standard form at 0.
#[inline(always)]
fn log_peak<R: Real>(df: R) -> R {
    let n = df.value();
    let value = R::Functions::lgamma_gap(0.5 * n, 0.5) - 0.5 * R::Functions::ln(n * PI);
    let slope = if R::DERIVED {
        0.5 * R::Functions::half_gap_rest(0.5 * n)
    } else {
        0.
    };
    df.map(value, slope)
}

/// From this t on in units of sqrt(df), the distribution is a power law.
const FAR: f64 = 1e8;

/// ln(1 + t^2 / df) with `t = (x - loc) / scale`, also where the square overflows, which that of f32 numbers does not in f64.
#[inline(always)]
fn log_rise<R: Real>([x, loc, scale]: [R; 3], df: R) -> R {
    let t = x.standard(loc, scale);
    if R::Functions::EXACT && t.value().abs() > FAR * df.value().sqrt() {
        return x.log_standard(loc, scale) * 2. - df.ln();
    }
    t.square().over(df).ln_1p()
}

/// `df / (df + t^2)`: P(T <= -|t|) is half the incomplete beta function of it with parameters df/2 and 1/2.
fn share(t: f64, df: f64) -> Share {
    let ratio = t / df.sqrt();
    let square = ratio * ratio;
    Share::of_parts(
        1. / (1. + square),
        if square < f64::INFINITY {
            square / (1. + square)
        } else {
            1.
        },
    )
}

/// ln P(X <= x), or of the upper tail.
fn log_tail<R: Real>([x, loc, scale]: [R; 3], df: R, upper: bool) -> R {
    let t = x.standard(loc, scale);
    let (v, n) = (t.value(), df.value());
    if v.abs() > FAR * n.sqrt() {
        let far = log_far_tail(x.log_standard(loc, scale), df);
        return if (v > 0.) == upper {
            far
        } else {
            (-far.exp()).ln_1p()
        };
    }
    let signed = if upper { -v } else { v };
    let s = share(v, n);
    let far = incomplete_beta::log_tail(0.5 * n, 0.5, s, false) - LN_2;
    let value = if signed <= 0. {
        far
    } else {
        (-far.exp()).ln_1p()
    };
    R::function([t, df], value, || {
        let sign = if upper { -1. } else { 1. };
        slopes(v, n, s, value).map(|slope| sign * slope)
    })
}

/// ln P(T > e^u) where `e^2u` is far above df: the share's log-odds are then its logarithm, which does not underflow.
fn log_far_tail<R: Real>(u: R, df: R) -> R {
    let n = df.value();
    let s = Share::of_log_odds(n.ln() - 2. * u.value());
    let log = incomplete_beta::log_tail(0.5 * n, 0.5, s, false);
    R::function([u, df], log - LN_2, || {
        // As below, where the difference of the logarithms has no digits left.
        let density = if log < -1e13 {
            0.5 * n
        } else {
            (incomplete_beta::log_density(0.5 * n, 0.5, s) - log).exp()
        };
        let [to_a, _] = incomplete_beta::derivatives(0.5 * n, 0.5, s);
        [-2. * density, density * (1. / n - 0.5 * to_a)]
    })
}

/// The derivatives of P(T <= t) to t and to df, over `e^log`.
fn slopes(t: f64, df: f64, s: Share, log: f64) -> [f64; 2] {
    // So far out the difference of the logarithms has no digits left; the ratio is that of a power law.
    let density = if log < -1e13 {
        t.abs() / (df + t * t) * (df + 1.)
    } else {
        (log_peak(df) - (df + 1.) * 0.5 * log_rise([t, 0., 1.], df) - log).exp()
    };
    if density == 0. {
        return [0.; 2];
    }
    // Per unit of the density of the log-odds of the share, which is |t| times that of t.
    let [to_a, _] = incomplete_beta::derivatives(0.5 * df, 0.5, s);
    [density, -t * density * 0.5 * (1. / df - 0.5 * to_a)]
}

#[derive(Clone, Copy)]
struct Law;

impl SplitDensityFormula<1, 5> for Law {
    const QUICK_ONCE: bool = true;

    #[inline(always)]
    fn once<R: Real>(self, [df]: [R; 1]) -> R {
        log_peak(df)
    }

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, df, loc, scale, peak]: [R; 5]) -> R {
        if !R::Functions::EXACT {
            return peak - scale.ln() - (df + 1.) * 0.5 * log_rise([x, loc, scale], df);
        }
        let n = df.value();
        let rise = log_rise([x, loc, scale], R::constant(n));
        // The derivative to df is written out: its terms cancel where these are many.
        let t = x.standard(loc, scale).value();
        let square = t * t / n;
        let share = if square < f64::INFINITY {
            square / (1. + square)
        } else {
            1.
        };
        let less = if share < 0.02 {
            saddle::log_minus_line_near(-share)
        } else {
            share - rise.value()
        };
        let spread = peak - scale.ln() - rise * ((n + 1.) * 0.5);
        spread + df.map(0., 0.5 * (less + share / n))
    }
}

impl CdfFormulas<4> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, df, loc, scale]: [R; 4], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        log_tail([x, loc, scale], df, upper)
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, df, loc, scale]: [R; 4]) -> R {
        let (probability, n) = (p.value(), df.value());
        let (sign, rest) = if probability < 0.5 {
            (-1., probability)
        } else {
            (1., 1. - probability)
        };
        let s = incomplete_beta::quantile(0.5 * n, 0.5, 2. * rest);
        let t = sign * (0.5 * (s.log_odds_flipped() + n.ln())).exp();
        let t = R::function([p, df], t, || {
            let [to_t, to_df] = slopes(t, n, s, 0.);
            [1. / to_t, -to_df / to_t]
        });
        loc + scale * t
    }
}

impl MomentFormulas<3> for Law {
    fn mean<R: Real>(self, [df, loc, _]: [R; 3]) -> R {
        if df.value() <= 1. {
            return R::constant(f64::NAN);
        }
        loc
    }

    fn variance<R: Real>(self, [df, _, scale]: [R; 3]) -> R {
        if df.value() <= 1. {
            return R::constant(f64::NAN);
        }
        if df.value() <= 2. {
            return R::constant(f64::INFINITY);
        }
        scale.square() * (df / (df - 2.))
    }
}

impl EntropyFormula<3> for Law {
    fn entropy<R: Real>(self, [df, _, scale]: [R; 3]) -> R {
        let n = df.value();
        let gap = number::digamma_gap(0.5 * n, 0.5);
        let value = (n + 1.) * 0.5 * gap - log_peak(n);
        R::function([df], value, || {
            let h = 0.5 * n;
            [(2. * h + 1.) * 0.25 * saddle::half_gap_slope_rest(h) - 0.125 / (h * h)]
        }) + scale.ln()
    }
}

#[derive(Clone, Copy)]
struct Draw;

impl Formula<5> for Draw {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [z, log_gamma, df, loc, scale]: [R; 5]) -> R {
        loc + scale * z * (((df * 0.5).ln() - log_gamma) * 0.5).exp()
    }
}

impl Distribution for StudentT {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [df, loc, scale] = self.0.given();
        let z = self.0.normals(shape, rng)?;
        let half = (self.df() * 0.5)?;
        let log_gamma = kernel::gamma(&half, None, shape, rng.stream(), true)?;
        named("StudentT::sample", Draw, [&z, &log_gamma, df, loc, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.split_log_prob("StudentT::log_prob", Law, value)
    }
}

impl Detach for StudentT {
    fn detach(&self) -> Self {
        StudentT(self.0.detach())
    }
}

impl Reparameterized for StudentT {}

impl Moments for StudentT {
    /// `loc`; NaN for up to one degree of freedom.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("StudentT::mean", Law)
    }

    /// `scale^2 df / (df - 2)`; infinite for up to two degrees of freedom, NaN for up to one.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("StudentT::variance", Law)
    }
}

impl Mode for StudentT {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for StudentT {
    /// `(df + 1)/2 (digamma((df + 1)/2) - digamma(df/2)) + ln(scale) - ` the log-density of the standard form at 0.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("StudentT::entropy", Law)
    }
}

impl Cdf for StudentT {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("StudentT::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("StudentT::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("StudentT::quantile", Law, probability)
    }
}

impl MixtureComponent for StudentT {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(StudentT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::elementwise::formula;
    use crate::kernels::number::incomplete_gamma::{self, Digits};
    use candle_core::{DType, Device, Var};

    /// The normal and the gamma draw given, and how the latter moves: d ln g / d alpha at alpha = df / 2.
    #[test]
    fn draws_move_as_the_reference_says() -> Result<()> {
        let file = include_str!("../../tests/golden/implicit_gradients.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let cases = file["cases"].as_array().unwrap();
        let name = "StudentT from Normal and Gamma";
        let case = cases.iter().find(|c| c["distribution"] == name).unwrap();
        let list = |v: &serde_json::Value| -> Vec<f64> {
            let list = v.as_array().unwrap().iter();
            list.map(|x| x.as_f64().unwrap()).collect()
        };
        let [df, n, g] = ["df", "n", "g"].map(|arg| list(&case["args"][arg]));
        let (draw, slope) = (list(&case["T"]), list(&case["dT_ddf"]));
        for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F32, 1e-3)] {
            for i in 0..df.len() {
                let var =
                    |x: f64| Var::from_tensor(&Tensor::new(x, &Device::Cpu)?.to_dtype(dtype)?);
                let (to_df, log) = (var(df[i])?, var(g[i].ln())?);
                let [z, zero, one] = [var(n[i])?, var(0.)?, var(1.)?];
                let t = formula(Draw, [z.as_tensor(), &log, &to_df, &zero, &one])?;
                let gradients = t.backward()?;
                let number = |x: &Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
                let of = |x: &Var| gradients.get(x).map_or(Ok(0.), number);
                let moves = incomplete_gamma::derivative(0.5 * df[i], g[i], g[i].ln(), Digits::All);
                for (got, want) in [
                    (number(&t)?, draw[i]),
                    (of(&to_df)? + 0.5 * moves * of(&log)?, slope[i]),
                ] {
                    let close =
                        (got - want).abs() <= tolerance * want.abs().max(1e-6 * draw[i].abs());
                    assert!(
                        close,
                        "{dtype:?} df {} n {}: {got}, not {want}",
                        df[i], n[i]
                    );
                }
            }
        }
        Ok(())
    }
}

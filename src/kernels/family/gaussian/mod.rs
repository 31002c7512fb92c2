//! Gaussians with independent elements: draws, densities and divergences, each as one node.

mod elementary;
mod exact;
mod sample;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::elementwise::composed;
use crate::kernels::elementwise::{self, Pointwise};
use crate::kernels::machine::simd::fma;
use crate::kernels::number::HALF_LN_TAU;
use crate::kernels::number::single::ln;
use crate::kernels::random::{self, Stream};
use crate::kernels::reduce;
use crate::shape;
use candle_core::{DType, Tensor};
use elementary::{exp_parts, line_minus_log};

/// What the second parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// The standard deviation.
    Scale,
    /// The logarithm of the variance.
    LogVar,
}

impl Spread {
    /// The standard deviation.
    pub(crate) fn scale(self, spread: &Tensor) -> Result<Tensor> {
        match self {
            Spread::Scale => Ok(spread.clone()),
            Spread::LogVar => Ok((spread * 0.5)?.exp()?),
        }
    }

    /// The logarithm of the standard deviation.
    pub(crate) fn log_scale(self, spread: &Tensor) -> Result<Tensor> {
        match self {
            Spread::Scale => Ok(spread.log()?),
            Spread::LogVar => Ok((spread * 0.5)?),
        }
    }
}

/// `loc + scale * eps` of shape `sample ++ dims`, for parameters of one shape; eps is the stream's draw of normals.
pub(crate) fn sample(
    kind: Spread,
    loc: &Tensor,
    spread: &Tensor,
    sample: &[usize],
    stream: Stream,
) -> Result<Tensor> {
    shape::draws("Distribution::sample", sample, loc.dims())?;
    if crate::kernels::graph::fused(&[loc, spread]) {
        let node = sample::Node {
            spread: kind,
            draw: Some((sample.to_vec(), stream)),
            kl: false,
        };
        return first(node.apply(loc, spread)?);
    }
    composed_sample(kind, loc, spread, sample, stream)
}

/// A draw as of [`sample`], and KL(N(loc, scale^2) || N(0, 1)) summed over the last dim.
pub(crate) fn sample_and_kl_standard(
    kind: Spread,
    loc: &Tensor,
    spread: &Tensor,
    sample: &[usize],
    stream: Stream,
) -> Result<(Tensor, Tensor)> {
    shape::draws("Distribution::sample", sample, loc.dims())?;
    if crate::kernels::graph::fused(&[loc, spread]) && !sample.contains(&0) {
        let node = sample::Node {
            spread: kind,
            draw: Some((sample.to_vec(), stream)),
            kl: true,
        };
        let mut outputs = node.apply(loc, spread)?.into_iter();
        if let (Some(z), Some(kl)) = (outputs.next(), outputs.next()) {
            return Ok((z, kl));
        }
    }
    Ok((
        composed_sample(kind, loc, spread, sample, stream)?,
        kl_standard(kind, loc, spread)?,
    ))
}

/// KL(N(loc, scale^2) || N(0, 1)) summed over the last dim, for parameters of one shape.
pub(crate) fn kl_standard(kind: Spread, loc: &Tensor, spread: &Tensor) -> Result<Tensor> {
    if crate::kernels::graph::fused(&[loc, spread]) {
        let node = sample::Node {
            spread: kind,
            draw: None,
            kl: true,
        };
        return first(node.apply(loc, spread)?);
    }
    if elementwise::on_cpu(loc) {
        return exact::kl_standard(kind, loc, spread);
    }
    composed_kl_standard(kind, loc, spread)
}

/// The log-density of N(loc, scale^2), all arguments broadcast; summed over the last dim if `event`.
pub(crate) fn log_prob(
    kind: Spread,
    value: &Tensor,
    loc: &Tensor,
    spread: &Tensor,
    event: bool,
) -> Result<Tensor> {
    if crate::kernels::graph::fused(&[value, loc, spread]) {
        let arguments = [value, loc, spread];
        return Ok(match kind {
            Spread::Scale => elementwise::apply(DensityScale, arguments, event)?,
            Spread::LogVar => elementwise::apply(DensityLogVar, arguments, event)?,
        });
    }
    if elementwise::on_cpu(value) {
        return exact::log_prob(kind, [value, loc, spread], event);
    }
    composed_log_prob(kind, value, loc, spread, event)
}

/// The log-density of N(0, I), summed over the last dim.
pub(crate) fn standard_log_prob(value: &Tensor) -> Result<Tensor> {
    if crate::kernels::graph::fused(&[value]) {
        return Ok(elementwise::apply(DensityStandard, [value], true)?);
    }
    if elementwise::on_cpu(value) {
        return exact::standard_log_prob(value);
    }
    total(((value.sqr()? * -0.5)? - HALF_LN_TAU)?, true)
}

/// KL(N(loc, scale^2) || N(other_loc, other_scale^2)), all arguments broadcast; summed over the last dim if `event`.
///
/// Normals of two kinds meet in double precision: a logarithm that is rounded would be the larger part of a small divergence.
pub(crate) fn kl_of_kinds(
    [kind, other]: [Spread; 2],
    p: [&Tensor; 2],
    q: [&Tensor; 2],
    event: bool,
) -> Result<Tensor> {
    if kind == other {
        return kl(kind, p, q, event);
    }
    if elementwise::on_cpu(p[0]) {
        return exact::kl([kind, other], [p[0], p[1], q[0], q[1]], event);
    }
    let log_var = |kind: Spread, spread: &Tensor| match kind {
        Spread::LogVar => Ok(spread.clone()),
        Spread::Scale => spread.log()? * 2.,
    };
    let spreads = [log_var(kind, p[1])?, log_var(other, q[1])?];
    kl(
        Spread::LogVar,
        [p[0], &spreads[0]],
        [q[0], &spreads[1]],
        event,
    )
}

/// [`kl_of_kinds`] of one kind.
pub(crate) fn kl(kind: Spread, p: [&Tensor; 2], q: [&Tensor; 2], event: bool) -> Result<Tensor> {
    let arguments = [p[0], p[1], q[0], q[1]];
    if crate::kernels::graph::fused(&arguments) {
        return Ok(match kind {
            Spread::Scale => elementwise::apply(KlScale, arguments, event)?,
            Spread::LogVar => elementwise::apply(KlLogVar, arguments, event)?,
        });
    }
    if elementwise::on_cpu(p[0]) {
        return exact::kl([kind; 2], arguments, event);
    }
    composed_kl(kind, p, q, event)
}

fn first(outputs: Vec<Tensor>) -> Result<Tensor> {
    match outputs.into_iter().next() {
        Some(output) => Ok(output),
        None => Err(candle_core::Error::Msg("gaussian-sample returned no output".into()).into()),
    }
}

#[derive(Clone, Copy)]
struct DensityStandard;

impl Pointwise<1> for DensityStandard {
    const NAME: &'static str = "gaussian-log-prob";

    #[inline(always)]
    fn value<const FMA: bool>(self, [x]: [f32; 1]) -> f32 {
        fma::<FMA>(-0.5 * x, x, -HALF_LN_TAU as f32)
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, [x]: [f32; 1]) -> [f32; 1] {
        [-x]
    }
}

#[derive(Clone, Copy)]
struct DensityScale;

impl Pointwise<3> for DensityScale {
    const NAME: &'static str = "gaussian-log-prob";

    #[inline(always)]
    fn value<const FMA: bool>(self, [x, loc, scale]: [f32; 3]) -> f32 {
        let t = (x - loc) / scale;
        fma::<FMA>(-0.5 * t, t, -ln::<FMA>(scale) - HALF_LN_TAU as f32)
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, [x, loc, scale]: [f32; 3]) -> [f32; 3] {
        let inverse = 1. / scale;
        let t = (x - loc) * inverse;
        let slope = t * inverse;
        [-slope, slope, fma::<FMA>(t, t, -1.) * inverse]
    }
}

#[derive(Clone, Copy)]
struct DensityLogVar;

impl Pointwise<3> for DensityLogVar {
    const NAME: &'static str = "gaussian-log-prob";

    #[inline(always)]
    fn value<const FMA: bool>(self, [x, loc, log_var]: [f32; 3]) -> f32 {
        let t = (x - loc) * crate::kernels::number::single::exp::<FMA>(-0.5 * log_var);
        fma::<FMA>(-0.5 * t, t, fma::<FMA>(-0.5, log_var, -HALF_LN_TAU as f32))
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, [x, loc, log_var]: [f32; 3]) -> [f32; 3] {
        let inverse = crate::kernels::number::single::exp::<FMA>(-0.5 * log_var);
        let t = (x - loc) * inverse;
        let slope = t * inverse;
        [-slope, slope, 0.5 * fma::<FMA>(t, t, -1.)]
    }
}

// With t = (loc_p - loc_q) / scale_q, r = scale_p / scale_q and d = r - 1:
// KL = (t^2 + d^2) / 2 + (d - ln r), and nothing of order one cancels where p is near q.

#[derive(Clone, Copy)]
struct KlScale;

impl Pointwise<4> for KlScale {
    const NAME: &'static str = "gaussian-kl";

    #[inline(always)]
    fn value<const FMA: bool>(self, [loc, scale, other, to]: [f32; 4]) -> f32 {
        let t = (loc - other) / to;
        let d = (scale - to) / to;
        let gap = line_minus_log::<FMA>(d, scale.sqrt() / to.sqrt());
        fma::<FMA>(0.5 * t, t, fma::<FMA>(0.5 * d, d, gap))
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, [loc, scale, other, to]: [f32; 4]) -> [f32; 4] {
        let inverse = 1. / to;
        let t = (loc - other) * inverse;
        let d = (scale - to) * inverse;
        let slope = t * inverse;
        // r^2 - 1
        let excess = d * (d + 2.);
        let narrow = excess / scale;
        [slope, narrow, -slope, -fma::<FMA>(t, t, excess) * inverse]
    }
}

#[derive(Clone, Copy)]
struct KlLogVar;

impl Pointwise<4> for KlLogVar {
    const NAME: &'static str = "gaussian-kl";

    #[inline(always)]
    fn value<const FMA: bool>(self, [loc, log_var, other, to]: [f32; 4]) -> f32 {
        let t = (loc - other) * crate::kernels::number::single::exp::<FMA>(-0.5 * to);
        let (_, d, gap) = exp_parts::<FMA>(0.5 * (log_var - to));
        fma::<FMA>(0.5 * t, t, fma::<FMA>(0.5 * d, d, gap))
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, [loc, log_var, other, to]: [f32; 4]) -> [f32; 4] {
        let inverse = crate::kernels::number::single::exp::<FMA>(-0.5 * to);
        let t = (loc - other) * inverse;
        let (r, d, _) = exp_parts::<FMA>(0.5 * (log_var - to));
        let slope = t * inverse;
        let excess = d * (r + 1.);
        [slope, 0.5 * excess, -slope, -0.5 * fma::<FMA>(t, t, excess)]
    }
}

fn composed_sample(
    kind: Spread,
    loc: &Tensor,
    spread: &Tensor,
    sample: &[usize],
    stream: Stream,
) -> Result<Tensor> {
    let shape = [sample, loc.dims()].concat();
    let len = shape.iter().product();
    let eps = match loc.dtype() {
        DType::F64 => Tensor::from_vec(random::normals_f64(stream, len), shape, loc.device())?,
        dtype => {
            Tensor::from_vec(random::normals(stream, len), shape, loc.device())?.to_dtype(dtype)?
        }
    };
    Ok(eps
        .broadcast_mul(&kind.scale(spread)?)?
        .broadcast_add(loc)?)
}

/// (e^h - 1, e^h - 1 - h). e^h - 1 = tanh(h / 2) (e^h + 1) is right near zero and far out.
fn composed_differences(h: &Tensor) -> Result<(Tensor, Tensor)> {
    let d = ((h * 0.5)?.tanh()? * (h.exp()? + 1.)?)?;
    Ok((d, composed::exp_minus_line(h)?))
}

fn composed_kl_standard(kind: Spread, loc: &Tensor, spread: &Tensor) -> Result<Tensor> {
    let (d, gap) = match kind {
        Spread::Scale => {
            let d = (spread - 1.)?;
            let gap = composed::line_minus_log(&d, spread)?;
            (d, gap)
        }
        Spread::LogVar => composed_differences(&(spread * 0.5)?)?,
    };
    let terms = (((loc.sqr()? + d.sqr()?)? * 0.5)? + gap)?;
    if terms.rank() == 0 {
        return Ok(terms);
    }
    reduce::sum(&terms)
}

fn composed_log_prob(
    kind: Spread,
    value: &Tensor,
    loc: &Tensor,
    spread: &Tensor,
    event: bool,
) -> Result<Tensor> {
    let t = value
        .broadcast_sub(loc)?
        .broadcast_div(&kind.scale(spread)?)?;
    let constant = (kind.log_scale(spread)? + HALF_LN_TAU)?;
    total((t.sqr()? * -0.5)?.broadcast_sub(&constant)?, event)
}

fn composed_kl(kind: Spread, p: [&Tensor; 2], q: [&Tensor; 2], event: bool) -> Result<Tensor> {
    let scale = kind.scale(q[1])?;
    let t = p[0].broadcast_sub(q[0])?.broadcast_div(&scale)?;
    let (d, gap) = match kind {
        Spread::Scale => {
            let d = p[1].broadcast_sub(q[1])?.broadcast_div(q[1])?;
            let gap = composed::line_minus_log(&d, &p[1].broadcast_div(q[1])?)?;
            (d, gap)
        }
        Spread::LogVar => composed_differences(&(p[1].broadcast_sub(q[1])? * 0.5)?)?,
    };
    let squares = (t.sqr()?.broadcast_add(&d.sqr()?)? * 0.5)?;
    total(squares.broadcast_add(&gap)?, event)
}

fn total(x: Tensor, event: bool) -> Result<Tensor> {
    if event { reduce::sum(&x) } else { Ok(x) }
}

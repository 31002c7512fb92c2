//! Which features are found again and again.

use super::samples::Samples;
use super::{Preparation, Selector};
use crate::check;
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::Tensor;

/// How often features are among the first of a ranking of half of the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Stability {
    /// For each feature the share of the halves in which it was selected.
    pub frequencies: Vec<f64>,
    /// The number of features that were selected each time.
    pub size: usize,
}

/// Stability selection: a [`Selector`] puts `size` features first of each of `halves` random halves of the samples, drawn class by
/// class.
///
/// Shapes: `x` is `[N, d]`, `y` labels `[N]` (integers) or targets `[N, C]` of x's dtype. Gradients: none.
///
/// Errors: no halves; more features than there are; a class of fewer than two samples; those of [`Problem`](super::Problem)
/// and of the selector.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Ahiht, Preparation, stability};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((60, 30), DType::F64, &Device::Cpu)?;
/// let labels = x.narrow(1, 4, 1)?.gt(0.)?.flatten_all()?.to_dtype(DType::U32)?;
/// let how = Preparation::default();
/// let found = stability(&x, &labels, &how, &Ahiht::default(), 3, 20, &mut Rng::new(1))?;
/// assert_eq!(found.selected(0.9), [4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Meinshausen and Buehlmann (2010), Stability selection.
pub fn stability(
    x: &Tensor,
    y: &Tensor,
    preparation: &Preparation,
    selector: &dyn Selector,
    size: usize,
    halves: usize,
    rng: &mut Rng,
) -> Result<Stability> {
    let op = "select::stability";
    let samples = Samples::new(x, y, preparation)?;
    let whole = &samples.whole;
    check::at_least_one(op, &[("halves", halves)])?;
    check::count_in(op, "size", size, 1..=whole.features(), "features")?;
    if samples.groups.iter().any(|group| group.len() == 1) {
        let expected = "two samples or more of every class";
        return Err(Error::value(op, "y", expected, "one"));
    }
    let mut counts = vec![0usize; whole.features()];
    for _ in 0..halves {
        let mut half = vec![];
        for group in &samples.groups {
            let order = rng.permutation(group.len());
            half.extend(order[..group.len() / 2].iter().map(|i| group[*i]));
        }
        let ranking = samples.part(&half)?.rank(selector)?;
        for feature in ranking.top(size)? {
            counts[*feature] += 1;
        }
    }
    let share = |count: &usize| *count as f64 / halves as f64;
    Ok(Stability {
        frequencies: counts.iter().map(share).collect(),
        size,
    })
}

impl Stability {
    /// The features that were selected in so large a share of the halves, in order: none is an answer as well.
    pub fn selected(&self, share: f64) -> Vec<usize> {
        let all = self.frequencies.iter().enumerate();
        all.filter(|(_, f)| **f >= share).map(|(i, _)| i).collect()
    }

    /// A bound of the expected number of features among [`selected`](Stability::selected) that tell nothing, for a share
    /// above one half, where features that tell nothing are exchangeable: `size^2 / ((2 share - 1) d)`; infinite below.
    pub fn false_selections(&self, share: f64) -> f64 {
        match share > 0.5 {
            true => {
                (self.size * self.size) as f64 / ((2. * share - 1.) * self.frequencies.len() as f64)
            }
            false => f64::INFINITY,
        }
    }
}

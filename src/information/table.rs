//! Tables of joint probabilities.

use super::{check, targets, terms};
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// The joint probabilities of discrete variables, one for each axis, and what they know of each other.
///
/// Formulas, for groups of axes A, B, C; axes that are in none are summed out:
///
/// - [`entropy`](Table::entropy) `H[A] = -sum p ln p`,
/// - [`conditional_entropy`](Table::conditional_entropy) `H[A|B] = sum p(a, b) ln(p(b) / p(a, b))`,
/// - [`mutual_information`](Table::mutual_information) `I[A;B] = KL(p(a, b) || p(a) p(b))`,
/// - [`conditional_mutual_information`](Table::conditional_mutual_information)
///   `I[A;B|C] = KL(p(a, b, c) || p(a, c) p(b, c) / p(c))`,
/// - [`interaction_information`](Table::interaction_information) of all axes, `I[A_1;...;A_n] = -sum (-1)^|S| H[S]` over their
///   subsets S: what the signed measure of the information diagram gives to the intersection; it may be negative,
/// - [`total_correlation`](Table::total_correlation) `sum_i H[A_i] - H[A_1,...,A_n]`,
/// - [`dual_total_correlation`](Table::dual_total_correlation) `H[A_1,...,A_n] - sum_i H[A_i|rest]`.
///
/// Shapes: `p` has an axis for each variable; results are scalars, of its dtype. Units: nats.
///
/// Gradients: to the probabilities, those of the formulas above, where cells without mass have no term: along the simplex theirs
/// would be infinite. For probabilities by a softmax that underflows this is the limit.
///
/// Errors: no cells; numbers that are negative, NaN or infinite, or whose sum is not 1 to rounding, as
/// [`Categorical::from_probs`](crate::distribution::Categorical::from_probs) says; axes that are not there or named twice, groups
/// without axes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::information::Table;
/// # fn main() -> candle_prob::Result<()> {
/// // Z is the exclusive or of X and Y: two of the three say nothing of each other, but each pair says all of the third.
/// let p = Tensor::new(&[[[0.25f64, 0.], [0., 0.25]], [[0., 0.25], [0.25, 0.]]], &Device::Cpu)?;
/// let table = Table::new(&p)?;
/// assert_eq!(table.mutual_information(&[0], &[1])?.to_scalar::<f64>()?, 0.);
/// let bit = 2f64.ln();
/// let given = table.conditional_mutual_information(&[0], &[1], &[2])?.to_scalar::<f64>()?;
/// assert!((given - bit).abs() < 1e-15);
/// let all = table.interaction_information()?.to_scalar::<f64>()?;
/// assert!((all + bit).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside. Entropies and informations of groups are sums of terms that are not negative, and so
/// not negative, with all digits where variables are nearly independent. `interaction_information` is a sum of both signs.
///
/// Source: Shannon (1948), A mathematical theory of communication; McGill (1954), Multivariate information transmission;
/// Watanabe (1960), Information theoretical analysis of multivariate correlation; Han (1978), Nonnegative entropy measures of
/// multivariate symmetric correlations; Yeung (1991), A new outlook on Shannon's information measures.
#[derive(Debug, Clone)]
pub struct Table {
    /// In double precision.
    p: Tensor,
    dtype: DType,
}

impl Table {
    /// Of joint probabilities.
    pub fn new(p: &Tensor) -> Result<Self> {
        Self::named("Table::new", p)
    }

    /// Of counts or other weights, divided by their sum: the empirical distribution. Whole numbers give a table of f64.
    ///
    /// Errors: negative, NaN or infinite numbers; a sum of 0.
    pub fn from_counts(n: &Tensor) -> Result<Self> {
        Self::counted("Table::from_counts", n)
    }

    /// Of samples of discrete variables: the empirical distribution, so that what it gives are the plug-in estimates of
    /// entropies (too small) and mutual informations (too large, by about `(A - 1)(B - 1) / 2 n`). Each variable comes with its
    /// number of values: u8, u32 or i64 `[n]`, below that.
    ///
    /// Errors: no variables, no samples, values that are not below their number, more cells than memory could hold.
    pub fn from_samples(variables: &[(&Tensor, usize)]) -> Result<Self> {
        let op = "Table::from_samples";
        let Some((first, _)) = variables.first() else {
            return Err(Error::value(op, "variables", "at least one", "none"));
        };
        let [n] = shape::dims(op, "variables", first.dims(), "[n]")?;
        crate::check::at_least_one(op, &[("samples", n)])?;
        let dims: Vec<usize> = variables.iter().map(|(_, values)| *values).collect();
        shape::draws(op, &dims, &[])?;
        let mut cells = vec![0usize; n];
        for (labels, values) in variables {
            let labels = targets::classes(op, "variables", labels, n, *values)?;
            let labels = labels.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
            let pairs = cells.iter_mut().zip(labels);
            pairs.for_each(|(cell, label)| *cell = *cell * values + label as usize);
        }
        let mut counts = vec![0f64; dims.iter().product()];
        cells.iter().for_each(|cell| counts[*cell] += 1.);
        Self::counted(op, &Tensor::from_vec(counts, dims, &Device::Cpu)?)
    }

    pub(super) fn named(op: &'static str, p: &Tensor) -> Result<Self> {
        let wide = check::probabilities(op, "p", p, 0)?;
        Ok(Table::checked(wide, p.dtype()))
    }

    pub(super) fn counted(op: &'static str, n: &Tensor) -> Result<Self> {
        if n.rank() == 0 {
            return Err(Error::shape(op, "n", "an axis for each variable", n.dims()));
        }
        let (p, dtype) = check::normalized(op, "n", n)?;
        Ok(Table::checked(p, dtype))
    }

    /// Of probabilities in double precision that are known to be some.
    pub(super) fn checked(p: Tensor, dtype: DType) -> Self {
        Table { p, dtype }
    }

    /// The probabilities, in double precision where the device has it.
    pub fn probabilities(&self) -> &Tensor {
        &self.p
    }

    /// The dtype of results.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The table of some of its variables, in the order of its axes.
    pub fn marginal(&self, axes: &[usize]) -> Result<Table> {
        let op = "Table::marginal";
        self.check(op, [("axes", axes, false)])?;
        let p = self.sum_to(&[axes])?;
        let kept: Vec<usize> = (0..self.p.rank()).filter(|i| axes.contains(i)).collect();
        let dims: Vec<usize> = kept.iter().map(|i| self.p.dims()[*i]).collect();
        Ok(Table::checked(p.reshape(dims)?, self.dtype))
    }

    /// H of the variables together.
    pub fn entropy(&self, of: &[usize]) -> Result<Tensor> {
        let op = "Table::entropy";
        self.check(op, [("of", of, false)])?;
        self.out(terms::entropy(op, &self.sum_to(&[of])?))
    }

    /// H of some variables where others are known.
    pub fn conditional_entropy(&self, of: &[usize], given: &[usize]) -> Result<Tensor> {
        let op = "Table::conditional_entropy";
        self.check(op, [("of", of, false), ("given", given, true)])?;
        let (both, known) = (self.sum_to(&[of, given])?, self.sum_to(&[given])?);
        self.out(terms::uncertainty(op, &both, &known))
    }

    /// What two groups of variables know of each other.
    pub fn mutual_information(&self, a: &[usize], b: &[usize]) -> Result<Tensor> {
        let op = "Table::mutual_information";
        self.check(op, [("a", a, false), ("b", b, false)])?;
        let product = self.sum_to(&[a])?.broadcast_mul(&self.sum_to(&[b])?)?;
        self.out(terms::divergence(op, &self.sum_to(&[a, b])?, &product))
    }

    /// What two groups of variables know of each other where others are known.
    pub fn conditional_mutual_information(
        &self,
        a: &[usize],
        b: &[usize],
        given: &[usize],
    ) -> Result<Tensor> {
        let op = "Table::conditional_mutual_information";
        self.check(
            op,
            [("a", a, false), ("b", b, false), ("given", given, true)],
        )?;
        let share = terms::share(&self.sum_to(&[b, given])?, &self.sum_to(&[given])?)?;
        let product = self.sum_to(&[a, given])?.broadcast_mul(&share)?;
        self.out(terms::divergence(
            op,
            &self.sum_to(&[a, b, given])?,
            &product,
        ))
    }

    /// What all variables have in common, of either sign. Errors: more than 16 variables.
    pub fn interaction_information(&self) -> Result<Tensor> {
        let op = "Table::interaction_information";
        let rank = self.p.rank();
        crate::check::count_in(op, "p", rank, 1..=16, "variables")?;
        let mut sum: Option<Tensor> = None;
        for subset in 1..1usize << rank {
            let axes: Vec<usize> = (0..rank).filter(|i| subset >> i & 1 == 1).collect();
            let entropy = terms::entropy(op, &self.sum_to(&[&axes])?)?;
            sum = Some(match (sum, axes.len() % 2) {
                (None, _) => entropy,
                (Some(sum), 1) => (sum + entropy)?,
                (Some(sum), _) => (sum - entropy)?,
            });
        }
        match sum {
            Some(sum) => self.out(Ok(sum)),
            None => Err(Error::shape(op, "p", "variables", self.p.dims())),
        }
    }

    /// How far the variables are from being independent.
    pub fn total_correlation(&self) -> Result<Tensor> {
        let op = "Table::total_correlation";
        let mut product = self.sum_to(&[&[0]])?;
        for axis in 1..self.p.rank() {
            product = product.broadcast_mul(&self.sum_to(&[&[axis]])?)?;
        }
        self.out(terms::divergence(op, &self.p, &product))
    }

    /// What the variables share, counted once.
    pub fn dual_total_correlation(&self) -> Result<Tensor> {
        let op = "Table::dual_total_correlation";
        let mut sum = terms::entropy(op, &self.p)?;
        for axis in 0..self.p.rank() {
            let rest = self.p.sum_keepdim(axis)?;
            sum = (sum - terms::uncertainty(op, &self.p, &rest)?)?;
        }
        self.out(Ok(sum))
    }

    fn out(&self, scalar: Result<Tensor>) -> Result<Tensor> {
        Ok(scalar?.to_dtype(self.dtype)?)
    }

    /// All axes but those of the groups are summed out and left as ones.
    fn sum_to(&self, groups: &[&[usize]]) -> Result<Tensor> {
        let rank = self.p.rank();
        let out: Vec<usize> = (0..rank)
            .filter(|axis| !groups.iter().any(|group| group.contains(axis)))
            .collect();
        match out.is_empty() {
            true => Ok(self.p.clone()),
            false => Ok(self.p.sum_keepdim(out)?),
        }
    }

    /// Groups of axes that are there, each in one of them once; whether a group may be empty.
    fn check<const N: usize>(
        &self,
        op: &'static str,
        groups: [(&'static str, &[usize], bool); N],
    ) -> Result<()> {
        let rank = self.p.rank();
        let mut seen = vec![false; rank];
        for (arg, axes, may_be_empty) in groups {
            if axes.is_empty() && !may_be_empty {
                return Err(Error::value(op, arg, "at least one axis", "none"));
            }
            for axis in axes {
                match seen.get_mut(*axis) {
                    Some(seen) if !*seen => *seen = true,
                    _ => {
                        let expected = format!("axes below {rank}, each named once");
                        return Err(Error::value(op, arg, expected, axis));
                    }
                }
            }
        }
        Ok(())
    }
}

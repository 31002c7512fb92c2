//! Penalties on the length of a critic's gradient, without second derivatives.

use crate::check;
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::kernels::graph::node;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, DType, Tensor, Var};

/// What a length |g| of a gradient costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GradientPenaltyForm {
    /// `weight (|g| - 1)^2`: WGAN-GP, between real and generated examples.
    ///
    /// Source: Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), Improved training of Wasserstein GANs, eq. 3, weight 10.
    TwoSided {
        /// Of the penalty, not negative.
        weight: f64,
    },
    /// `weight max(0, |g| - 1)^2`: a critic may be flatter than it has to be.
    ///
    /// Source: Petzka, Fischer and Lukovnikov (2018), On the regularization of Wasserstein GANs, section 4.
    OneSided {
        /// Of the penalty, not negative.
        weight: f64,
    },
    /// `gamma / 2 |g|^2`: R1 where the examples are real, R2 where they are generated.
    ///
    /// Source: Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge?, eq. 9 and 10,
    /// gamma 10.
    ZeroCentred {
        /// Of the penalty, not negative.
        gamma: f64,
    },
}

/// What [`gradient_penalty`] returns, for each example, shape `[N]`.
#[derive(Debug, Clone)]
pub struct GradientPenalty {
    /// What to add to the critic's loss, in the mean over the examples.
    pub penalty: Tensor,
    /// |g|, without gradient: 1 almost everywhere for the best critic of the Wasserstein distance.
    pub norm: Tensor,
}

/// A penalty on the length of the gradient that a critic has at each example.
///
/// Formula: `g_n = d D(x_n) / d x_n`, its length over all dims but the first, and of it what the
/// [form](GradientPenaltyForm) says. Second derivatives are not needed: for `u = g / |g|`, held fixed, `|g|` is the
/// forward-mode product `J(x) u`, in value and in the gradient to the parameters, for to first order |g| does not depend on the
/// direction in which it is measured.
///
/// Shapes: examples x are `[N] ++ S`; the critic leads from them to scores `[N] ++ T`, of which each example's are added up. It is
/// evaluated twice: on a constant [`Dual`], of which a backward pass gives g, and along u. Networks of layers are
/// [`DualModule`](crate::dual::DualModule)s.
///
/// Gradients: to the critic's parameters; none to x. An example whose g is 0 has no direction: there |g| has a kink, of whose
/// slopes 0 is taken, so that a critic which is constant around all examples is not led away from that by
/// [`TwoSided`](GradientPenaltyForm::TwoSided).
///
/// Errors: x that has no dim for the examples, or examples without elements; a weight that is negative or not finite; a critic
/// with another number of examples; one that does not depend on x, or on no variable; one whose scores
/// are not each a function of its own example, as with the statistics of a batch, or differ from call to call, or whose tangent is not
/// that of its value: the product differs from |g| then. What the critic refuses.
///
/// ```
/// use candle_core::{DType, Device, Module};
/// use candle_nn::VarMap;
/// use candle_prob::dual::DualModule;
/// use candle_prob::objective::{GradientPenaltyForm, gradient_penalty, interpolate_random};
/// use candle_prob::optim::{Adam, AdamConfig, Optimizer};
/// use candle_prob::{Activation, Rng, init, net};
/// # fn main() -> candle_prob::Result<()> {
/// let (vars, mut rng) = (VarMap::new(), Rng::new(0));
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let critic = net::mlp(&[2, 32, 32, 1], Activation::LeakyRelu(0.2), vb)?;
/// let mut adam = Adam::new(&vars, &AdamConfig { beta1: 0., beta2: 0.9, ..Default::default() })?;
/// let real = (rng.normal((64, 2), DType::F32, &Device::Cpu)? + 1.)?;
/// let fake = rng.normal((64, 2), DType::F32, &Device::Cpu)?;
/// // A critic's step of WGAN-GP.
/// let between = interpolate_random(&real, &fake, &mut rng)?;
/// let form = GradientPenaltyForm::TwoSided { weight: 10. };
/// let parts = gradient_penalty(|x| critic.forward_dual(x), &between, form)?;
/// let apart = (critic.forward(&fake)?.mean_all()? - critic.forward(&real)?.mean_all()?)?;
/// let update = adam.backward_step(&(apart + parts.penalty.mean_all()?)?)?;
/// assert!(update.missing.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: lengths do not overflow before they are numbers no more. That the product is |g| is checked to the root of the dtype's
/// precision times the largest length: what examples have in common is found where it is more. An example whose gradient is not
/// finite has the penalty NaN. Activations whose slope jumps have no second derivative, here as elsewhere.
///
/// Source: of the forms, [`GradientPenaltyForm`]; the gradient of a length by forward over reverse mode: Pearlmutter (1994), Fast
/// exact multiplication by the Hessian.
pub fn gradient_penalty(
    critic: impl Fn(&Dual) -> Result<Dual>,
    x: &Tensor,
    form: GradientPenaltyForm,
) -> Result<GradientPenalty> {
    const OP: &str = "objective::gradient_penalty";
    form.check(OP)?;
    shape::float(OP, "x", x)?;
    let Some((&count, event)) = x.dims().split_first() else {
        return Err(Error::shape(OP, "x", "[N] ++ S", x.dims()));
    };
    let x = x.detach();
    if count == 0 {
        let nothing = Tensor::zeros(0, x.dtype(), x.device())?;
        let (penalty, norm) = (nothing.clone(), nothing);
        return Ok(GradientPenalty { penalty, norm });
    }
    if event.contains(&0) {
        return Err(Error::shape(OP, "x", "examples with elements", x.dims()));
    }
    let ignores = || {
        let expected = "a function of x, to the end on dual numbers";
        Error::value(OP, "critic", expected, "one without gradient to x")
    };

    let at = Var::from_tensor(&x)?;
    let scores = critic(&Dual::constant(at.as_tensor()))?;
    let gradient = node::backward(&added(OP, scores.value(), count)?)?;
    let gradient = gradient.get(&at).ok_or_else(ignores)?.detach();
    let (direction, norm) = polar(&gradient)?;

    // An example that is scored along others' directions too shows, since these are of different lengths.
    let steps = Tensor::from_iter((0..count).map(step), x.device())?.to_dtype(x.dtype())?;
    let column = [&[count], vec![1; event.len()].as_slice()].concat();
    let direction = direction.broadcast_mul(&steps.reshape(column)?)?;
    let scores = critic(&Dual::new(&x, &direction)?)?;
    let product = scores.tangent().ok_or_else(ignores)?;
    let product = (added(OP, product, count)? / steps)?;
    agree(OP, &product, &norm)?;
    if !product.track_op() {
        let expected = "a function of parameters that are variables";
        return Err(Error::value(OP, "critic", expected, "one of constants"));
    }
    let penalty = form.of(&product)?;
    Ok(GradientPenalty { penalty, norm })
}

impl GradientPenaltyForm {
    fn check(self, op: &'static str) -> Result<()> {
        match self {
            GradientPenaltyForm::TwoSided { weight } | GradientPenaltyForm::OneSided { weight } => {
                check::non_negative(op, "weight", weight)
            }
            GradientPenaltyForm::ZeroCentred { gamma } => check::non_negative(op, "gamma", gamma),
        }
    }

    fn of(self, norm: &Tensor) -> Result<Tensor> {
        Ok(match self {
            GradientPenaltyForm::TwoSided { weight } => ((norm - 1.)?.sqr()? * weight)?,
            GradientPenaltyForm::OneSided { weight } => {
                let above = (norm - 1.)?;
                // NaN counts as above.
                let below = above.le(0f64)?;
                let above = below.where_cond(&above.zeros_like()?, &above)?;
                (above.sqr()? * weight)?
            }
            GradientPenaltyForm::ZeroCentred { gamma } => (norm.sqr()? * (gamma / 2.))?,
        })
    }
}

/// The length of an example's step: a sequence without a period.
fn step(example: usize) -> f64 {
    let place = (example as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62;
    [1., -2., 2., -1.][place as usize]
}

/// `[N] ++ T` to `[N]`.
fn added(op: &'static str, scores: &Tensor, count: usize) -> Result<Tensor> {
    match scores.dims() {
        [n, rest @ ..] if *n == count && !rest.contains(&0) => match rest {
            [] => Ok(scores.clone()),
            _ => reduce::sum(&scores.flatten_from(1)?),
        },
        dims => {
            let expected = format!("scores [{count}] ++ T");
            Err(Error::shape(op, "critic", expected, dims))
        }
    }
}

/// The direction of each gradient `[N] ++ S`, 0 where there is none, and the lengths `[N]`.
fn polar(gradient: &Tensor) -> Result<(Tensor, Tensor)> {
    let rows = gradient.reshape((gradient.dim(0)?, ()))?;
    let one_for_zero =
        |x: &Tensor| -> Result<Tensor> { Ok(x.eq(0f64)?.where_cond(&x.ones_like()?, x)?) };
    // Scaled first: squares of large and of small numbers are none.
    let largest = rows.abs()?.max_keepdim(D::Minus1)?;
    let rows = rows.broadcast_div(&one_for_zero(&largest)?)?;
    let length = reduce::sum(&rows.sqr()?)?.sqrt()?.unsqueeze(1)?;
    let direction = rows.broadcast_div(&one_for_zero(&length)?)?;
    let norm = (length * largest)?.squeeze(1)?;
    Ok((direction.reshape(gradient.shape())?, norm))
}

/// Whether each example's product is the length of its gradient.
fn agree(op: &'static str, product: &Tensor, norm: &Tensor) -> Result<()> {
    let precision = shape::epsilon(norm.dtype());
    let numbers = |x: &Tensor| -> Result<Vec<f64>> { Ok(x.to_dtype(DType::F64)?.to_vec1()?) };
    let (product, norm) = (numbers(product)?, numbers(norm)?);
    let largest = norm.iter().copied().filter(|n| n.is_finite());
    let largest = largest.fold(0., f64::max);
    // Slopes of saturated units are differences of numbers near 1.
    let most = precision.sqrt() * largest + 64. * precision;
    for (n, (product, norm)) in product.iter().zip(&norm).enumerate() {
        if (product - norm).abs() > most {
            let expected =
                "scores that are functions of their own example and of nothing else that changes";
            let found =
                format!("a gradient of length {norm} and a product of {product}, example {n}");
            return Err(Error::value(op, "critic", expected, found));
        }
    }
    Ok(())
}

//! The information diagram of an input, a label and a code.

use super::encoded::Encoded;
use super::table::Table;
use super::targets::{Known, Targets};
use super::terms;
use super::unit::Unit;
use crate::error::Result;
use crate::shape;
use candle_core::{DType, Tensor};

/// The information diagram of an input X, its label Y and its code Z: every quantity of the information bottleneck by its name.
///
/// | method | quantity | |
/// | --- | --- | --- |
/// | [`input_entropy`](Diagram::input_entropy) | `H[X]` | |
/// | [`label_entropy`](Diagram::label_entropy) | `H[Y]` | |
/// | [`encoding_entropy`](Diagram::encoding_entropy) | `H[Z]` | |
/// | [`label_uncertainty`](Diagram::label_uncertainty) | `H[Y\|X]` | what no code can tell |
/// | [`encoding_uncertainty`](Diagram::encoding_uncertainty) | `H[Z\|X]` | the noise of the encoder |
/// | [`decoder_uncertainty`](Diagram::decoder_uncertainty) | `H[Y\|Z]` | what the best decoder does not know |
/// | [`reverse_decoder_uncertainty`](Diagram::reverse_decoder_uncertainty) | `H[Z\|Y]` | |
/// | [`nuisance`](Diagram::nuisance) | `H[X\|Y]` | what in the input is not of the label |
/// | [`lost_nuisance`](Diagram::lost_nuisance) | `H[X\|Y,Z]` | of that, what the code has not |
/// | [`relevant`](Diagram::relevant) | `I[X;Y]` | |
/// | [`preserved`](Diagram::preserved) | `I[X;Z]` | |
/// | [`preserved_relevant`](Diagram::preserved_relevant) | `I[Y;Z]` | |
/// | [`residual`](Diagram::residual) | `I[X;Y\|Z]` | what the code has not of the label |
/// | [`redundant`](Diagram::redundant) | `I[X;Z\|Y]` | what the code has beside the label |
/// | [`leaked`](Diagram::leaked) | `I[Y;Z\|X]` | 0 where the code sees the input alone |
/// | [`interaction`](Diagram::interaction) | `I[X;Y;Z]` | may be negative |
/// | [`entropy_distance`](Diagram::entropy_distance) | `H[Y\|Z] + H[Z\|Y]` | a metric |
///
/// The signed measure of Yeung (1991) makes sets of them: `relevant = preserved_relevant + residual`,
/// `preserved = preserved_relevant + redundant`, `nuisance = lost_nuisance + redundant`. (The paper's equation 10 has
/// `I[X;Z]` in the place of `I[X;Z|Y]`, which exceeds it by `I[Y;Z]`.) The objectives of the paper's section 4 and
/// appendix A.2 are methods too. A quantity is computed when its method is called.
///
/// From an encoder ([`from_encoder`](Diagram::from_encoder)) X is the number of the sample, and Z knows Y through X alone:
/// `I[Y;Z|X] = 0`, `I[X;Y;Z] = I[Y;Z] >= 0`, and no table of N L C numbers is built.
///
/// Shapes: scalars, of the dtype that came in. Units: [`unit`](Diagram::unit), nats unless [`to_bits`](Diagram::to_bits) was
/// called.
///
/// Gradients: to the numbers that came in, finite also where a softmax underflows, as for [`Table`]. That of
/// `decoder_uncertainty` to an encoder is `p(x) E_{p(y|x)} h(p(y|z))` (A.3).
///
/// Errors: those of each constructor. A method fails only where the tensor library does.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::information::{Diagram, Unit};
/// # fn main() -> candle_prob::Result<()> {
/// // Four samples of two classes; the code tells the first two from each other, and errs on the last.
/// let encoder = Tensor::new(&[[1f64, 0., 0.], [0., 1., 0.], [0., 0., 1.], [0.5, 0., 0.5]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?;
/// let diagram = Diagram::from_encoder(&encoder, &labels, 2)?.to_bits();
/// assert_eq!(diagram.unit(), Unit::Bits);
/// assert_eq!(diagram.relevant()?.to_scalar::<f64>()?, 1.);
/// let [relevant, preserved, residual] = [diagram.relevant()?, diagram.preserved_relevant()?, diagram.residual()?];
/// let gap = (relevant - (preserved + residual)?)?.to_scalar::<f64>()?;
/// assert!(gap.abs() < 1e-15);
/// assert_eq!(diagram.encoding_uncertainty()?.to_scalar::<f64>()?, 0.25);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside. What is a sum of terms that are not negative is computed so, and is not negative;
/// differences are `interaction`, and from an encoder `residual` and `redundant` with probabilities of labels, `nuisance` and
/// `lost_nuisance`.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking Information Bottlenecks, sections 2 to 4 and appendix A.1, A.2; Yeung (1991),
/// A new outlook on Shannon's information measures.
#[derive(Debug, Clone)]
pub struct Diagram {
    /// `[X, Z]` and `[Y, Z]`.
    xz: Table,
    yz: Table,
    rest: Rest,
    unit: Unit,
    dtype: DType,
}

/// What is known of all three.
#[derive(Debug, Clone)]
enum Rest {
    /// All of it, `[X, Y, Z]`.
    Joint(Table),
    /// Z depends on X, and Y on X, one label for each or, `[X, Y]`, with probabilities.
    Labels(Tensor),
    Soft(Table),
}

impl Diagram {
    /// From the joint probabilities `[X, Y, Z]`, of which nothing is assumed.
    ///
    /// Errors: those of [`Table::new`]; not three axes.
    pub fn from_joint(p: &Tensor) -> Result<Self> {
        let op = "Diagram::from_joint";
        shape::dims::<3>(op, "p", p.dims(), "[X, Y, Z]")?;
        Self::whole(Table::named(op, p)?)
    }

    /// From counts or weights `[X, Y, Z]`: the empirical distribution. Errors: those of [`Table::from_counts`]; not three axes.
    pub fn from_counts(n: &Tensor) -> Result<Self> {
        let op = "Diagram::from_counts";
        shape::dims::<3>(op, "n", n.dims(), "[X, Y, Z]")?;
        Self::whole(Table::counted(op, n)?)
    }

    /// From an encoder's `p(z | x)`, `[N, C]`, and the classes of N equally likely samples, u32 `[N]`.
    ///
    /// Errors: as [`from_targets`](Diagram::from_targets).
    pub fn from_encoder(p_z_given_x: &Tensor, labels: &Tensor, classes: usize) -> Result<Self> {
        let targets = Targets::Labels { labels, classes };
        Self::chain("Diagram::from_encoder", p_z_given_x, targets, None)
    }

    /// As [`from_encoder`](Diagram::from_encoder), with any [`Targets`] and weights of the samples, `[N]`, which are divided by
    /// their sum: p(x).
    ///
    /// Errors: no samples or codes; rows of probabilities that do not add up to 1, negative numbers; labels that are no
    /// classes; other dtypes, devices or numbers of samples than those of `p_z_given_x`; weights without a positive sum.
    pub fn from_targets(
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Self> {
        Self::chain("Diagram::from_targets", p_z_given_x, targets, weights)
    }

    fn whole(table: Table) -> Result<Self> {
        Ok(Diagram {
            xz: table.marginal(&[0, 2])?,
            yz: table.marginal(&[1, 2])?,
            unit: Unit::Nats,
            dtype: table.dtype(),
            rest: Rest::Joint(table),
        })
    }

    fn chain(
        op: &'static str,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Self> {
        let Encoded { masses, known } = Encoded::new(op, p_z_given_x, targets, weights)?;
        let dtype = p_z_given_x.dtype();
        let yz = Table::checked(known.by_class(&masses)?, dtype);
        let rest = match known {
            Known::Labels(labels, _) => Rest::Labels(labels),
            Known::Probabilities(p) => {
                let p_x = masses.sum_keepdim(1)?;
                Rest::Soft(Table::checked(p.broadcast_mul(&p_x)?, dtype))
            }
        };
        Ok(Diagram {
            xz: Table::checked(masses, dtype),
            yz,
            rest,
            unit: Unit::Nats,
            dtype,
        })
    }

    /// The same diagram in bits.
    pub fn to_bits(&self) -> Self {
        Diagram {
            unit: Unit::Bits,
            ..self.clone()
        }
    }

    /// What its quantities are counted in.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// `p(y, z)`, `[Y, Z]`, in double precision where the device has it.
    pub fn labels_and_codes(&self) -> &Tensor {
        self.yz.probabilities()
    }
}

/// Entropies.
impl Diagram {
    /// `H[X]`.
    pub fn input_entropy(&self) -> Result<Tensor> {
        self.out(self.xz.entropy(&[0]))
    }

    /// `H[Y]`.
    pub fn label_entropy(&self) -> Result<Tensor> {
        self.out(self.yz.entropy(&[0]))
    }

    /// `H[Z]`.
    pub fn encoding_entropy(&self) -> Result<Tensor> {
        self.out(self.xz.entropy(&[1]))
    }

    /// `H[Y|X]`: 0 for one label each.
    pub fn label_uncertainty(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_entropy(&[1], &[0])),
            Rest::Soft(xy) => self.out(xy.conditional_entropy(&[1], &[0])),
            Rest::Labels(_) => self.nothing(),
        }
    }

    /// `H[Z|X]`.
    pub fn encoding_uncertainty(&self) -> Result<Tensor> {
        self.out(self.xz.conditional_entropy(&[1], &[0]))
    }

    /// `H[Y|Z]`.
    pub fn decoder_uncertainty(&self) -> Result<Tensor> {
        self.out(self.yz.conditional_entropy(&[0], &[1]))
    }

    /// `H[Z|Y]`.
    pub fn reverse_decoder_uncertainty(&self) -> Result<Tensor> {
        self.out(self.yz.conditional_entropy(&[1], &[0]))
    }

    /// `H[X|Y]`.
    pub fn nuisance(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_entropy(&[0], &[1])),
            _ => Ok((self.input_entropy()? - self.relevant()?)?),
        }
    }

    /// `H[X|Y,Z]`.
    pub fn lost_nuisance(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_entropy(&[0], &[1, 2])),
            _ => Ok((self.nuisance()? - self.redundant()?)?),
        }
    }

    /// `H[Y|Z] + H[Z|Y]`, a metric of variables up to names of their values (eq. 19).
    pub fn entropy_distance(&self) -> Result<Tensor> {
        Ok((self.decoder_uncertainty()? + self.reverse_decoder_uncertainty()?)?)
    }
}

/// Informations.
impl Diagram {
    /// `I[X;Y]`, what the input says of the label.
    pub fn relevant(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.mutual_information(&[0], &[1])),
            Rest::Soft(xy) => self.out(xy.mutual_information(&[0], &[1])),
            Rest::Labels(_) => self.label_entropy(),
        }
    }

    /// `I[X;Z]`, what the code keeps of the input.
    pub fn preserved(&self) -> Result<Tensor> {
        self.out(self.xz.mutual_information(&[0], &[1]))
    }

    /// `I[Y;Z]`, what the code says of the label.
    pub fn preserved_relevant(&self) -> Result<Tensor> {
        self.out(self.yz.mutual_information(&[0], &[1]))
    }

    /// `I[X;Y|Z]`, what the input says of the label beyond the code.
    pub fn residual(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_mutual_information(&[0], &[1], &[2])),
            Rest::Soft(_) => Ok((self.decoder_uncertainty()? - self.label_uncertainty()?)?),
            Rest::Labels(_) => self.decoder_uncertainty(),
        }
    }

    /// `I[X;Z|Y]`, what the code keeps of the input beyond the label.
    pub fn redundant(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_mutual_information(&[0], &[2], &[1])),
            Rest::Soft(_) => {
                Ok((self.reverse_decoder_uncertainty()? - self.encoding_uncertainty()?)?)
            }
            Rest::Labels(labels) => {
                let (xz, yz) = (self.xz.probabilities(), self.yz.probabilities());
                let backward = terms::share(yz, &yz.sum_keepdim(1)?)?.contiguous()?;
                let expected = backward
                    .index_select(labels, 0)?
                    .broadcast_mul(&xz.sum_keepdim(1)?)?;
                let nats = terms::divergence("Diagram::redundant", xz, &expected)?;
                self.out(Ok(nats.to_dtype(self.dtype)?))
            }
        }
    }

    /// `I[Y;Z|X]`, what the code knows of the label beside the input: 0 from an encoder.
    pub fn leaked(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(table) => self.out(table.conditional_mutual_information(&[1], &[2], &[0])),
            _ => self.nothing(),
        }
    }

    /// `I[X;Y;Z] = I[Y;Z] - I[Y;Z|X]`, of either sign; from an encoder `I[Y;Z]`.
    pub fn interaction(&self) -> Result<Tensor> {
        match &self.rest {
            Rest::Joint(_) => Ok((self.preserved_relevant()? - self.leaked()?)?),
            _ => self.preserved_relevant(),
        }
    }
}

/// Objectives, each to be minimized. They are Lagrangians with any multiplier; where a text says from where to where it goes,
/// other numbers are allowed here all the same.
///
/// Errors: multipliers that are NaN or infinite.
impl Diagram {
    /// The information bottleneck of Tishby, Pereira and Bialek (2000): `I[X;Z] - beta I[Y;Z]`, beta from 1 on.
    pub fn information_bottleneck(&self, beta: f64) -> Result<Tensor> {
        let op = "Diagram::information_bottleneck";
        crate::check::finite(op, "beta", beta)?;
        Ok((self.preserved()? - (self.preserved_relevant()? * beta)?)?)
    }

    /// The deterministic one of Strouse and Schwab (2017): `H[Z] - beta I[Y;Z]`, beta from 1 on.
    pub fn deterministic_bottleneck(&self, beta: f64) -> Result<Tensor> {
        let op = "Diagram::deterministic_bottleneck";
        crate::check::finite(op, "beta", beta)?;
        Ok((self.encoding_entropy()? - (self.preserved_relevant()? * beta)?)?)
    }

    /// The conditional entropy bottleneck of Fischer (2019): `I[X;Z|Y] - gamma I[Y;Z]`. It is `information_bottleneck(gamma + 1)`
    /// where Z sees X alone; the paper has gamma = 1.
    pub fn conditional_entropy_bottleneck(&self, gamma: f64) -> Result<Tensor> {
        let op = "Diagram::conditional_entropy_bottleneck";
        crate::check::finite(op, "gamma", gamma)?;
        Ok((self.redundant()? - (self.preserved_relevant()? * gamma)?)?)
    }

    /// IB by its decoder: `H[Y|Z] + beta' I[X;Z|Y]`, with `beta' = 1 / (beta - 1)` (Observation 1): `information_bottleneck(beta)`
    /// times beta', plus `H[Y]`.
    pub fn decoder_bottleneck(&self, beta: f64) -> Result<Tensor> {
        let op = "Diagram::decoder_bottleneck";
        crate::check::finite(op, "beta", beta)?;
        Ok((self.decoder_uncertainty()? + (self.redundant()? * beta)?)?)
    }

    /// DIB by its decoder: `H[Y|Z] + beta' H[Z|Y]`, with `beta' = 1 / (beta - 1)` (Observation 1): `deterministic_bottleneck(beta)`
    /// times beta', plus `H[Y]`.
    pub fn deterministic_decoder_bottleneck(&self, beta: f64) -> Result<Tensor> {
        let op = "Diagram::deterministic_decoder_bottleneck";
        crate::check::finite(op, "beta", beta)?;
        Ok((self.decoder_uncertainty()? + (self.reverse_decoder_uncertainty()? * beta)?)?)
    }

    /// IB by the entropy distance (eq. 23): `EDM + gamma (H[Y|Z] - H[Z|Y]) + (gamma - 1) H[Z|X]`, with `gamma = 1 - 2 / beta` in
    /// [-1, 1]: `information_bottleneck(beta)` times `2 / beta`, plus `(1 + gamma) H[Y]`.
    pub fn distance_bottleneck(&self, gamma: f64) -> Result<Tensor> {
        let dib = self.deterministic_distance_bottleneck(gamma)?;
        Ok((dib + (self.encoding_uncertainty()? * (gamma - 1.))?)?)
    }

    /// DIB by the entropy distance (eq. 24): `EDM + gamma (H[Y|Z] - H[Z|Y])`, with `gamma = 1 - 2 / beta` in [-1, 1]:
    /// `deterministic_bottleneck(beta)` times `2 / beta`, plus `(1 + gamma) H[Y]`.
    pub fn deterministic_distance_bottleneck(&self, gamma: f64) -> Result<Tensor> {
        let op = "Diagram::distance_bottleneck";
        crate::check::finite(op, "gamma", gamma)?;
        let (decoder, reverse) = (
            self.decoder_uncertainty()?,
            self.reverse_decoder_uncertainty()?,
        );
        Ok(((decoder * (1. + gamma))? + (reverse * (1. - gamma))?)?)
    }
}

impl Diagram {
    fn out(&self, nats: Result<Tensor>) -> Result<Tensor> {
        match self.unit {
            Unit::Nats => nats,
            unit => Ok((nats? / unit.in_nats())?),
        }
    }

    fn nothing(&self) -> Result<Tensor> {
        let device = self.xz.probabilities().device();
        Ok(Tensor::zeros((), self.dtype, device)?)
    }
}

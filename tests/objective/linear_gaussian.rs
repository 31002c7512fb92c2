//! A model whose evidence and posterior are known: z ~ N(0, I), x ~ N(W z + mu, sigma^2 I). What the bound says about it.

use crate::support::floats;
use candle_core::{DType, Device, Tensor, Var};
use candle_prob::distribution::*;
use candle_prob::objective::*;
use candle_prob::optim::backward;
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// Symmetric matrices as rows.
type Matrix = Vec<Vec<f64>>;

pub struct Model {
    /// [D, L].
    pub w: Tensor,
    /// [D].
    pub mu: Tensor,
    pub variance: f64,
}

impl Model {
    /// Columns that are not orthogonal: the posterior's elements are dependent.
    pub fn general() -> Result<Self> {
        Self::new(&[[1., 0.5], [-0.3, 0.8], [0.7, 0.9], [0.2, -1.1]])
    }

    /// Orthogonal columns: the posterior's elements are independent.
    pub fn orthogonal() -> Result<Self> {
        Self::new(&[[1., 0.5], [1., -0.5], [-1., 1.5], [1., 1.5]])
    }

    fn new(w: &[[f64; 2]; 4]) -> Result<Self> {
        Ok(Model {
            w: Tensor::new(w, CPU)?,
            mu: Tensor::new(&[0.3, -0.2, 1., 0.], CPU)?,
            variance: 0.4,
        })
    }

    pub fn prior(&self) -> Result<MultivariateNormalDiag> {
        MultivariateNormalDiag::standard(self.w.dim(1)?, DType::F64, CPU)
    }

    pub fn decoder(&self) -> impl Fn(&Tensor) -> Result<Independent<Normal>> + use<'_> {
        |z: &Tensor| {
            let mean = z.broadcast_matmul(&self.w.t()?)?.broadcast_add(&self.mu)?;
            Normal::new(&mean, &Tensor::new(self.variance.sqrt(), CPU)?)?.to_event(1)
        }
    }

    /// Draws of the model, [n, D].
    pub fn data(&self, n: usize) -> Result<Tensor> {
        let mut rng = Rng::new(11);
        let z = self.prior()?.sample(&[n], &mut rng)?;
        self.decoder()(&z)?.sample(&[], &mut rng)
    }

    /// ln p(x), [n].
    pub fn evidence(&self, x: &Tensor) -> Result<Tensor> {
        let outer = self.w.matmul(&self.w.t()?)?.to_vec2::<f64>()?;
        let root = cholesky(plus(outer, self.variance));
        MultivariateNormal::new(&self.mu, &Tensor::new(root, CPU)?)?.log_prob(x)
    }

    /// M / sigma^2, the precision of the posterior.
    fn precision(&self) -> Result<Matrix> {
        let inner = (self.w.t()?.matmul(&self.w)? / self.variance)?;
        Ok(plus(inner.to_vec2()?, 1.))
    }

    /// M^-1 W^T, the posterior mean's map.
    pub fn map(&self) -> Result<Tensor> {
        let covariance = Tensor::new(inverse(self.precision()?), CPU)?;
        Ok((covariance.matmul(&self.w.t()?)? / self.variance)?)
    }

    pub fn posterior_mean(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_sub(&self.mu)?.matmul(&self.map()?.t()?)?)
    }

    pub fn posterior(&self, x: &Tensor) -> Result<MultivariateNormal> {
        let root = Tensor::new(cholesky(inverse(self.precision()?)), CPU)?;
        MultivariateNormal::new(&self.posterior_mean(x)?, &root)
    }

    /// The posterior where its elements are independent; elsewhere the best of those with independent elements.
    pub fn diagonal_posterior(&self, x: &Tensor) -> Result<MultivariateNormalDiag> {
        let precision = self.precision()?;
        let scale: Vec<f64> = (0..precision.len())
            .map(|i| precision[i][i].powf(-0.5))
            .collect();
        MultivariateNormalDiag::new(&self.posterior_mean(x)?, &Tensor::new(scale, CPU)?)
    }
}

fn plus(mut a: Matrix, diagonal: f64) -> Matrix {
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += diagonal;
    }
    a
}

fn cholesky(a: Matrix) -> Matrix {
    let n = a.len();
    let mut l = vec![vec![0.; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
        }
    }
    l
}

/// By elimination without pivots, which positive definite matrices do not need.
fn inverse(mut a: Matrix) -> Matrix {
    let n = a.len();
    let mut inverse = plus(vec![vec![0.; n]; n], 1.);
    for i in 0..n {
        let pivot = a[i][i];
        for j in 0..n {
            a[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for k in (0..n).filter(|k| *k != i) {
            let factor = a[k][i];
            for j in 0..n {
                a[k][j] -= factor * a[i][j];
                inverse[k][j] -= factor * inverse[i][j];
            }
        }
    }
    inverse
}

/// A posterior whose draws are 2 L points around its mean, of the mean and covariance of the law itself: means of quadratic
/// functions over them are exact.
pub struct SigmaPoints<P> {
    law: P,
    /// [2 L] ++ batch ++ [L].
    points: Tensor,
}

impl SigmaPoints<MultivariateNormalDiag> {
    pub fn diagonal(law: MultivariateNormalDiag) -> Result<Self> {
        let dims = law.event_shape()[0];
        let eye = Tensor::eye(dims, DType::F64, CPU)?;
        let root = law.scale()?.unsqueeze(1)?.broadcast_mul(&eye)?;
        let points = around(law.loc(), &root)?;
        Ok(SigmaPoints { law, points })
    }

    pub fn count(&self) -> usize {
        self.points.dims()[0]
    }
}

impl SigmaPoints<MultivariateNormal> {
    fn full(law: MultivariateNormal) -> Result<Self> {
        let points = around(law.loc(), &law.scale_tril()?)?;
        Ok(SigmaPoints { law, points })
    }
}

/// `loc [n, L] +- sqrt(L)` times the columns of a root `[n, L, L]` of the covariance.
fn around(loc: &Tensor, root: &Tensor) -> Result<Tensor> {
    let (n, dims) = loc.dims2()?;
    let root = root.broadcast_as((n, dims, dims))?;
    let steps = (root.permute((2, 0, 1))? * (dims as f64).sqrt())?;
    Ok(Tensor::cat(&[&steps, &steps.neg()?], 0)?.broadcast_add(loc)?)
}

impl<P: Distribution> Distribution for SigmaPoints<P> {
    fn batch_shape(&self) -> &[usize] {
        self.law.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.law.event_shape()
    }

    fn sample(&self, shape: &[usize], _: &mut Rng) -> Result<Tensor> {
        assert_eq!(shape, &self.points.dims()[..1]);
        Ok(self.points.clone())
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.law.log_prob(value)
    }
}

impl<P: Distribution> Reparameterized for SigmaPoints<P> {}

impl<P: Kl<Q>, Q: Distribution> Kl<Q> for SigmaPoints<P> {
    fn kl(&self, other: &Q) -> Result<Tensor> {
        self.law.kl(other)
    }
}

/// Two latent dimensions: four points.
pub const EXACT: ElboConfig = ElboConfig {
    beta: 1.,
    samples: 4,
};

/// Minus the total of the bound, exactly.
pub fn bound<P, R>(model: &Model, q: &SigmaPoints<P>, prior: &R, x: &Tensor) -> Result<Tensor>
where
    P: Distribution,
    R: Rate<SigmaPoints<P>>,
{
    let parts = elbo(q, prior, &model.decoder(), x, &EXACT, &mut Rng::new(0))?;
    Ok(parts.total.neg()?)
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(floats(x)?.into_iter().fold(0., |m: f64, x| m.max(x.abs())))
}

/// Posteriors that are not the true ones.
fn wrong(n: usize) -> Result<(Tensor, Tensor, Tensor)> {
    let mut rng = Rng::new(12);
    let mut draw = |shape: &[usize]| rng.normal(shape, DType::F64, CPU);
    let (loc, log_scale) = (draw(&[n, 2])?, (draw(&[n, 2])? * 0.5)?);
    let scale = log_scale.exp()?;
    // A lower triangle with the scales on its diagonal.
    let below = Tensor::new(&[[0f64, 0.], [1., 0.]], CPU)?;
    let below = draw(&[n, 2, 2])?.broadcast_mul(&below)?;
    let eye = Tensor::eye(2, DType::F64, CPU)?;
    let root = (scale.unsqueeze(1)?.broadcast_mul(&eye)? + below)?;
    Ok((loc, scale, root))
}

#[test]
fn the_evidence_is_the_bound_and_the_divergence_from_the_posterior() -> Result<()> {
    for model in [Model::general()?, Model::orthogonal()?] {
        let x = model.data(9)?;
        let (evidence, posterior) = (model.evidence(&x)?, model.posterior(&x)?);
        let (loc, scale, root) = wrong(9)?;
        let diagonal = SigmaPoints::diagonal(MultivariateNormalDiag::new(&loc, &scale)?)?;
        let full = SigmaPoints::full(MultivariateNormal::new(&loc, &root)?)?;
        for (bound, gap) in [
            (
                bound(&model, &diagonal, &model.prior()?, &x)?,
                diagonal.kl(&posterior)?,
            ),
            (
                bound(&model, &full, &model.prior()?, &x)?,
                full.kl(&posterior)?,
            ),
        ] {
            assert!(largest(&((&bound + &gap)? - &evidence)?)? < 1e-10);
            assert!(floats(&gap)?.into_iter().all(|gap| gap > 1e-3));
            assert!(
                floats(&(&evidence - bound)?)?
                    .into_iter()
                    .all(|gap| gap > 0.)
            );
        }
    }
    Ok(())
}

#[test]
fn the_bound_is_tight_at_the_posterior() -> Result<()> {
    for (model, tight) in [(Model::general()?, false), (Model::orthogonal()?, true)] {
        let x = model.data(9)?;
        let (evidence, prior) = (model.evidence(&x)?, model.prior()?);
        let full = SigmaPoints::full(model.posterior(&x)?)?;
        assert!(largest(&(bound(&model, &full, &prior, &x)? - &evidence)?)? < 1e-10);
        // Of independent elements only where the columns are orthogonal.
        let diagonal = SigmaPoints::diagonal(model.diagonal_posterior(&x)?)?;
        let gaps = floats(&(&evidence - bound(&model, &diagonal, &prior, &x)?)?)?;
        match tight {
            true => assert!(gaps.iter().all(|gap| gap.abs() < 1e-10), "{gaps:?}"),
            false => {
                // ln (P_11 P_22 / det P) / 2 with the precision P.
                let p = model.precision()?;
                let diagonal = p[0][0] * p[1][1];
                let want = (diagonal / (diagonal - p[0][1] * p[1][0])).ln() / 2.;
                assert!(
                    gaps.iter().all(|gap| (gap - want).abs() < 1e-10),
                    "{gaps:?}"
                );
                assert!(want > 0.03);
            }
        }
        // With the rate of the same draws not even chance is left: each draw gives the evidence.
        let (prior, config) = (MonteCarlo(&prior), ElboConfig::default());
        let posterior = model.posterior(&x)?;
        let parts = elbo(
            &posterior,
            &prior,
            &model.decoder(),
            &x,
            &config,
            &mut Rng::new(3),
        )?;
        assert!(largest(&(parts.total + &evidence)?)? < 1e-10);
    }
    Ok(())
}

#[test]
fn a_batch_twice_as_large_has_the_same_bound_for_each_example() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(5)?;
    let twice = Tensor::cat(&[&x, &x], 0)?;
    let of = |x: &Tensor| {
        let q = SigmaPoints::diagonal(model.diagonal_posterior(x)?)?;
        bound(&model, &q, &model.prior()?, x)
    };
    let (once, twice) = (of(&x)?, of(&twice)?);
    assert_eq!(floats(&twice)?, [floats(&once)?, floats(&once)?].concat());
    let mean = |x: &Tensor| Ok::<f64, candle_prob::Error>(floats(&x.mean_all()?)?[0]);
    assert!((mean(&twice)? - mean(&once)?).abs() < 1e-12);
    Ok(())
}

/// Beta at variance s is beta times the bound at variance beta s, and constants: one optimum.
#[test]
fn beta_is_a_variance_of_the_decoder() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(6)?;
    let (loc, scale, _) = wrong(6)?;
    let (dims, beta) = (4., 3.5);
    let run = |beta: f64, variance: f64| -> Result<(Tensor, Vec<Vec<f64>>)> {
        let vars = [&model.w, &loc, &scale].map(Var::from_tensor);
        let [w, loc, scale] = vars;
        let (w, loc, scale) = (w?, loc?, scale?);
        let model = Model {
            w: w.as_tensor().clone(),
            mu: model.mu.clone(),
            variance,
        };
        let q = SigmaPoints::diagonal(MultivariateNormalDiag::new(&loc, &scale)?)?;
        let config = ElboConfig { beta, ..EXACT };
        let rng = &mut Rng::new(0);
        let parts = elbo(&q, &model.prior()?, &model.decoder(), &x, &config, rng)?;
        let gradients = backward(&parts.total.sum_all()?)?;
        let gradients = [w, loc, scale].map(|var| gradients.get(&var).map(floats));
        let gradients: Option<Result<Vec<_>>> = gradients.into_iter().collect();
        Ok((parts.total, gradients.expect("all have gradients")?))
    };
    let (weighted, slopes) = run(beta, model.variance)?;
    let (plain, plain_slopes) = run(1., beta * model.variance)?;
    let log_norm = |variance: f64| dims / 2. * (2. * std::f64::consts::PI * variance).ln();
    let want = ((plain - log_norm(beta * model.variance))? * beta)?;
    let want = (want + log_norm(model.variance))?;
    assert!(largest(&(weighted - want)?)? < 1e-10);
    for (got, want) in slopes.iter().flatten().zip(plain_slopes.iter().flatten()) {
        assert!(
            (got - beta * want).abs() < 1e-10 * got.abs().max(1.),
            "{got} {want}"
        );
    }
    Ok(())
}

/// `|x - f(z)|^2 / sigma^2 + tr S + |mu|^2 - ln det S`, the loss of lectures, is twice ours but for what no parameter moves.
#[test]
fn the_loss_of_the_slides_is_twice_minus_the_bound() -> Result<()> {
    let model = Model::general()?;
    let x = model.data(6)?;
    let (loc, scale, _) = wrong(6)?;
    let q = MultivariateNormalDiag::new(&loc, &scale)?;
    let config = ElboConfig::default();
    let ours = elbo(
        &q,
        &model.prior()?,
        &model.decoder(),
        &x,
        &config,
        &mut Rng::new(4),
    )?
    .total;
    let z = q.sample(&[], &mut Rng::new(4))?;
    let mean = model.decoder()(&z)?.mean()?;
    let error = ((&x - mean)?.sqr()?.sum(1)? / model.variance)?;
    let rest = ((scale.sqr()? + loc.sqr()?)? - (scale.log()? * 2.)?)?.sum(1)?;
    let slides = (error + rest)?;
    let (data, latent) = (4., 2.);
    let constant = latent - data * (2. * std::f64::consts::PI * model.variance).ln();
    assert!(largest(&(((ours * 2.)? + constant)? - slides)?)? < 1e-10);
    Ok(())
}

//! A million random parameters and values, from the edges of their domains too: no panic, no NaN that did not come in,
//! and no construction from parameters outside of the domain.

use candle_core::{D, DType, Device, Tensor};
use candle_prob::distribution::{
    Bernoulli, Categorical, Cdf, Dirichlet, Distribution, Entropy, Gamma, Laplace, Moments, Normal,
};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// Values for each family and dtype: together more than a million.
const COUNT: usize = 80_000;

#[derive(Clone, Copy)]
enum Kind {
    Real,
    Positive,
    /// Logits, infinite ones included.
    Logit,
}

impl Kind {
    /// One of the domain's numbers; magnitudes spread over `decades` each way.
    fn number(self, [choice, sign, size]: [f64; 3], decades: f64) -> f64 {
        let sign = if sign < 0.5 { -1. } else { 1. };
        let magnitude = 10f64.powf(decades * (2. * size - 1.));
        match self {
            Kind::Real if choice < 0.1 => 0.,
            Kind::Real => sign * magnitude,
            Kind::Positive if choice < 0.1 => 1.,
            Kind::Positive => magnitude,
            Kind::Logit if choice < 0.05 => sign * f64::INFINITY,
            Kind::Logit => sign * magnitude,
        }
    }

    /// Numbers outside.
    fn outside(self) -> &'static [f64] {
        match self {
            Kind::Real => &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
            Kind::Positive => &[f64::NAN, f64::INFINITY, 0., -1.],
            Kind::Logit => &[f64::NAN],
        }
    }
}

/// Anything that may be handed to a density: edges of supports, whole numbers, infinities, NaN.
fn value([choice, sign, size]: [f64; 3]) -> f64 {
    let edges = [
        0.,
        1.,
        -1.,
        2.,
        7.,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        0.5,
        1e-30,
    ];
    match (choice * 20.) as usize {
        i if i < edges.len() => edges[i],
        10 | 11 => (size * 100.).floor(),
        12 | 13 => size,
        _ => Kind::Real.number([1., sign, size], 8.),
    }
}

fn random(count: usize, seed: u64, f: impl Fn([f64; 3]) -> f64, dtype: DType) -> Result<Tensor> {
    let words = Rng::new(seed).uniform((count, 3), DType::F64, CPU)?;
    let words = words.to_vec2::<f64>()?.into_iter();
    let numbers: Vec<f64> = words.map(|w| f([w[0], w[1], w[2]])).collect();
    Ok(Tensor::new(numbers, CPU)?.to_dtype(dtype)?)
}

struct Fuzz<'a, F> {
    name: &'a str,
    kinds: &'a [Kind],
    build: F,
}

impl<D: Distribution, F: Fn(&[Tensor]) -> Result<D>> Fuzz<'_, F> {
    /// In both dtypes: random parameters, random values, and `check` of both.
    fn each(&self, check: impl Fn(&[Tensor], &D, &Tensor) -> Result<()>) -> Result<()> {
        for (dtype, decades) in [(DType::F64, 12.), (DType::F32, 6.)] {
            let mut parameters = vec![];
            for (k, kind) in self.kinds.iter().enumerate() {
                let number = |words| kind.number(words, decades);
                let numbers = random(COUNT, k as u64, number, dtype)?;
                parameters.push(numbers);
            }
            let values = random(COUNT, 99, value, dtype)?;
            check(&parameters, &(self.build)(&parameters)?, &values)?;
        }
        Ok(())
    }

    /// NaN exactly where `values` has it.
    fn compare(&self, what: &str, parameters: &[Tensor], values: Option<&Tensor>, got: &Tensor) {
        let flat = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        let (got, values) = (flat(got), values.map(flat));
        for (i, got) in got.iter().enumerate() {
            let value = values.as_ref().map(|values| values[i]);
            if got.is_nan() != value.is_some_and(f64::is_nan) {
                let at: Vec<f64> = parameters.iter().map(|p| flat(p)[i]).collect();
                panic!("{what} of {} {at:?} at {value:?}: {got}", self.name);
            }
        }
    }

    fn density(&self) -> Result<()> {
        self.each(|parameters, d, values| {
            let log_prob = d.log_prob(values)?;
            self.compare("log_prob", parameters, Some(values), &log_prob);
            Ok(())
        })
    }

    fn rejects(&self) {
        for (k, kind) in self.kinds.iter().enumerate() {
            for outside in kind.outside() {
                let pair = |x: f64| Tensor::new(&[0.5, x], CPU).unwrap();
                let mut parameters = vec![pair(0.5); self.kinds.len()];
                parameters[k] = pair(*outside);
                let built = (self.build)(&parameters);
                assert!(
                    built.is_err(),
                    "{} takes {outside} as parameter {k}",
                    self.name
                );
            }
        }
    }

    fn cdf(&self) -> Result<()>
    where
        D: Cdf,
    {
        self.each(|parameters, d, values| {
            let (cdf, survival) = (d.log_cdf(values)?, d.log_survival(values)?);
            self.compare("log_cdf", parameters, Some(values), &cdf);
            self.compare("log_survival", parameters, Some(values), &survival);
            let p = random(COUNT, 98, |[_, _, p]| p, values.dtype())?;
            self.compare("quantile", parameters, None, &d.quantile(&p)?);
            Ok(())
        })
    }

    fn moments(&self) -> Result<()>
    where
        D: Moments,
    {
        self.each(|parameters, d, _| {
            self.compare("mean", parameters, None, &d.mean()?);
            self.compare("variance", parameters, None, &d.variance()?);
            Ok(())
        })
    }

    fn entropy(&self) -> Result<()>
    where
        D: Entropy,
    {
        self.each(|parameters, d, _| {
            self.compare("entropy", parameters, None, &d.entropy()?);
            Ok(())
        })
    }

    fn draws(&self) -> Result<()> {
        self.each(|parameters, d, _| {
            let draws = d.sample(&[], &mut Rng::new(0))?;
            self.compare("sample", parameters, None, &draws);
            Ok(())
        })
    }
}

fn fuzz<'a, D, F: Fn(&[Tensor]) -> Result<D>>(
    name: &'a str,
    kinds: &'a [Kind],
    build: F,
) -> Fuzz<'a, F> {
    Fuzz { name, kinds, build }
}

const LINE: &[Kind] = &[Kind::Real, Kind::Positive];

#[test]
fn normal() -> Result<()> {
    let row = fuzz("Normal", LINE, |p| Normal::new(&p[0], &p[1]));
    row.density()?;
    row.moments()?;
    row.entropy()?;
    row.draws()
}

#[test]
fn laplace() -> Result<()> {
    let row = fuzz("Laplace", LINE, |p| Laplace::new(&p[0], &p[1]));
    row.rejects();
    row.density()?;
    row.cdf()?;
    row.moments()?;
    row.entropy()?;
    row.draws()
}

#[test]
fn gamma() -> Result<()> {
    let kinds = [Kind::Positive; 2];
    let row = fuzz("Gamma", &kinds, |p| Gamma::new(&p[0], &p[1]));
    row.density()?;
    row.moments()?;
    row.entropy()?;
    row.draws()
}

#[test]
fn bernoulli() -> Result<()> {
    let row = fuzz("Bernoulli", &[Kind::Logit], |p| Bernoulli::new(&p[0]));
    row.density()?;
    row.moments()?;
    row.entropy()?;
    row.draws()
}

/// Vectors: parameters in rows of 4, own draws as values.
fn rows(kind: Kind, dtype: DType, decades: f64) -> Result<Tensor> {
    let numbers = random(COUNT, 5, |words| kind.number(words, decades), dtype)?;
    Ok(numbers.reshape((COUNT / 4, 4))?)
}

fn no_nan(what: &str, x: &Tensor) -> Result<()> {
    let x = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    assert!(x.iter().all(|x| !x.is_nan()), "{what}");
    Ok(())
}

#[test]
fn dirichlet() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let d = Dirichlet::new(&rows(Kind::Positive, dtype, 5.)?)?;
        let x = d.sample(&[], &mut Rng::new(0))?;
        no_nan("draws", &x)?;
        no_nan("sums", &(x.sum(D::Minus1)? - 1.)?)?;
        no_nan("log_prob", &d.log_prob(&x)?)?;
        no_nan("entropy", &d.entropy()?)?;
        no_nan("mean", &d.mean()?)?;
        no_nan("variance", &d.variance()?)?;
    }
    Ok(())
}

#[test]
fn categorical() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        // One finite logit in each row.
        let logits = rows(Kind::Logit, dtype, 6.)?;
        let logits = logits.minimum(&(logits.zeros_like()? + 1e6)?)?;
        let finite = logits.narrow(1, 0, 1)?.zeros_like()?;
        let d = Categorical::new(&Tensor::cat(&[logits, finite], 1)?)?;
        no_nan("log_prob", &d.log_prob(&d.sample(&[], &mut Rng::new(0))?)?)?;
        no_nan("entropy", &d.entropy()?)?;
    }
    Ok(())
}

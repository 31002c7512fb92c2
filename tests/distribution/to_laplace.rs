//! KL divergences to a Laplace distribution, which no peer has: against quadrature over quantiles, and their gradients.

use candle_core::{Device, Tensor};
use candle_prob::Result;
use candle_prob::distribution::{
    Beta, Cdf, ContinuousBernoulli, Distribution, Gamma, Kl, Laplace, Pareto,
};
use candle_prob::testing::check_gradient;

const CPU: Device = Device::Cpu;

fn one(x: f64) -> Result<Tensor> {
    Ok(Tensor::new(x, &CPU)?)
}

fn laplace(loc: f64, scale: f64) -> Result<Laplace> {
    Laplace::new(&one(loc)?, &one(scale)?)
}

/// `E[ln p - ln q]` by Gauss-Legendre's two points in each of many cells of the probability, finer towards both ends.
fn quadrature<P: Cdf>(p: &P, q: &Laplace) -> Result<f64> {
    // The probability as a smooth step of t, so that both ends are approached slowly.
    let n = 1000;
    let (mut probability, mut weight) = (vec![], vec![]);
    for k in 0..n {
        for side in [-1., 1.] {
            let t = (k as f64 + 0.5 + side * 0.5 / 3f64.sqrt()) / n as f64;
            probability.push(t * t * t * (10. - 15. * t + 6. * t * t));
            weight.push(30. * (t * (1. - t)).powi(2) * 0.5 / n as f64);
        }
    }
    let x = p.quantile(&Tensor::new(probability, &CPU)?)?;
    let ratio = (p.log_prob(&x)? - q.log_prob(&x)?)?;
    Ok((ratio * Tensor::new(weight, &CPU)?)?
        .sum_all()?
        .to_scalar::<f64>()?)
}

fn meets<P: Cdf + Kl<Laplace>>(p: &P, q: &Laplace, what: &str) -> Result<()> {
    let (got, want) = (p.kl(q)?.to_scalar::<f64>()?, quadrature(p, q)?);
    let gap = (got - want).abs();
    // The kink at the location costs the quadrature 4e-7 with so many cells (below 1e-7 with three times as many).
    assert!(gap < 1e-6 * want.abs().max(1.), "{what}: {got} for {want}");
    Ok(())
}

#[test]
fn values_meet_quadrature() -> Result<()> {
    for (loc, scale) in [
        (-0.5, 0.3),
        (0., 1.),
        (0.31, 0.2),
        (0.9, 2.),
        (1., 0.5),
        (1.7, 0.4),
        (6., 3.),
    ] {
        let q = laplace(loc, scale)?;
        for (a, b) in [(2., 3.), (1.5, 1.2), (9., 4.)] {
            meets(
                &Beta::new(&one(a)?, &one(b)?)?,
                &q,
                &format!("beta {a} {b} to {loc} {scale}"),
            )?;
            meets(
                &Gamma::new(&one(a)?, &one(b)?)?,
                &q,
                &format!("gamma {a} {b} to {loc} {scale}"),
            )?;
        }
        for logit in [-40., -3., -1e-3, 0., 0.4, 2., 29.9, 30.1, 60.] {
            let p = ContinuousBernoulli::new(&one(logit)?)?;
            meets(
                &p,
                &q,
                &format!("continuous Bernoulli {logit} to {loc} {scale}"),
            )?;
        }
        for (low, alpha) in [(0.5, 6.), (1.5, 9.)] {
            let p = Pareto::new(&one(low)?, &one(alpha)?)?;
            meets(&p, &q, &format!("pareto {low} {alpha} to {loc} {scale}"))?;
        }
    }
    let heavy = Pareto::new(&one(1.)?, &one(1.)?)?;
    assert_eq!(
        heavy.kl(&laplace(0., 1.)?)?.to_scalar::<f64>()?,
        f64::INFINITY
    );
    Ok(())
}

#[test]
fn gradients_meet_central_differences() -> Result<()> {
    let inputs = |a: f64, b: f64| -> Result<Vec<Tensor>> {
        // Locations within the supports and outside of them.
        let loc = Tensor::new(&[-0.4, 0.35, 0.8, 2.3], &CPU)?;
        [one(a)?, one(b)?, loc, one(0.7)?]
            .into_iter()
            .map(Ok)
            .collect()
    };
    let q = |x: &[Tensor]| Laplace::new(&x[2], &x[3]);
    check_gradient(
        &|x| Beta::new(&x[0], &x[1])?.kl(&q(x)?),
        &inputs(2.3, 1.4)?,
        1e-6,
    )?;
    check_gradient(
        &|x| Gamma::new(&x[0], &x[1])?.kl(&q(x)?),
        &inputs(2.3, 1.4)?,
        1e-6,
    )?;
    check_gradient(
        &|x| Pareto::new(&x[0], &x[1])?.kl(&q(x)?),
        &inputs(0.5, 3.2)?,
        1e-6,
    )?;
    for logit in [-3., 0.2, 1.4, 31.] {
        let f = |x: &[Tensor]| ContinuousBernoulli::new(&x[0])?.kl(&Laplace::new(&x[1], &x[2])?);
        let inputs = inputs(logit, 0.)?;
        let inputs = [inputs[0].clone(), inputs[2].clone(), inputs[3].clone()];
        check_gradient(&f, &inputs, 1e-6)?;
    }
    Ok(())
}

//! Gamma and its relatives.

use super::{row, tensor};
use crate::support::floats;
use candle_core::{DType, Tensor, Var};
use candle_prob::distribution::{
    Beta, Chi2, Dirichlet, Distribution, Gamma, InverseGamma, Kl, Kumaraswamy, Pareto, StudentT,
    Weibull,
};
use candle_prob::{Result, Rng};

#[test]
fn gamma() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Gamma::new(&p[0], &p[1]),
        [tensor([0.7, 3., 12.]), tensor([0.5, 2., 1.])],
    );
    family.mode()?;
    family.cdf()?;
    family.kl(&Chi2::new(&tensor([2., 1., 10.]))?)
}

#[test]
fn chi2() -> Result<()> {
    let family = row(|p: &[Tensor]| Chi2::new(&p[0]), [tensor([1.4, 6., 24.])]);
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Chi2::new(&tensor([2., 5., 9.]))?)?;
    family.kl(&Gamma::new(&tensor([2., 1., 10.]), &tensor([1.]))?)
}

#[test]
fn inverse_gamma() -> Result<()> {
    let family = row(
        |p: &[Tensor]| InverseGamma::new(&p[0], &p[1]),
        [tensor([5., 7., 12.]), tensor([0.5, 2., 1.])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&InverseGamma::new(&tensor([4., 5., 10.]), &tensor([1.]))?)
}

#[test]
fn weibull() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Weibull::new(&p[0], &p[1]),
        [tensor([0.5, 2., 1.]), tensor([0.9, 1.5, 4.])],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    family.kl(&Weibull::new(&tensor([1.]), &tensor([0.8, 2., 3.]))?)?;
    family.kl(&Gamma::new(&tensor([2., 1., 5.]), &tensor([1.5]))?)
}

#[test]
fn pareto() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Pareto::new(&p[0], &p[1]),
        [tensor([0.5, 2., 1.]), tensor([5., 8., 6.])],
    );
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.kl(&Pareto::new(&tensor([0.4]), &tensor([3., 4., 9.]))?)?;
    // Heavy tails leave few draws so near the scale that differences do not resolve the cdf's logarithm.
    let heavy = row(
        |p: &[Tensor]| Pareto::new(&p[0], &p[1]),
        [tensor([0.5, 2., 1.]), tensor([1., 0.5, 0.8])],
    );
    heavy.cdf()?;
    // The support moves with the scale: its score is not of mean zero.
    let scale = tensor([0.5, 2., 1.]);
    let family = row(
        |p: &[Tensor]| Pareto::new(&scale, &p[0]),
        [tensor([5., 8., 6.])],
    );
    family.distribution()?;
    family.reparameterized()?;
    let apart =
        Pareto::new(&scale, &tensor([3.]))?.kl(&Pareto::new(&tensor([1.]), &tensor([3.]))?)?;
    assert_eq!(apart.to_vec1::<f64>()?[0], f64::INFINITY);
    Ok(())
}

#[test]
fn beta() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Beta::new(&p[0], &p[1]),
        [tensor([0.7, 3., 12.]), tensor([0.8, 2., 1.5])],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.reparameterized()?;
    family.kl(&Beta::new(&tensor([2., 1., 10.]), &tensor([1.]))?)?;
    let inside = row(
        |p: &[Tensor]| Beta::new(&p[0], &p[1]),
        [tensor([1., 3., 12.]), tensor([4., 2., 1.])],
    );
    inside.mode()?;
    let smooth = row(
        |p: &[Tensor]| Beta::new(&p[0], &p[1]),
        [tensor([2., 3., 12.]), tensor([4., 2.5, 3.])],
    );
    smooth.cdf()
}

#[test]
fn kumaraswamy() -> Result<()> {
    let family = row(
        |p: &[Tensor]| Kumaraswamy::new(&p[0], &p[1]),
        [tensor([0.7, 3., 12.]), tensor([0.8, 2., 1.5])],
    );
    family.distribution()?;
    family.moments()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()?;
    let inside = row(
        |p: &[Tensor]| Kumaraswamy::new(&p[0], &p[1]),
        [tensor([1., 3., 12.]), tensor([4., 2., 1.])],
    );
    inside.mode()
}

#[test]
fn student_t() -> Result<()> {
    let family = row(
        |p: &[Tensor]| StudentT::new(&p[0], &p[1], &p[2]),
        [
            tensor([6., 9., 20.]),
            tensor([0.5, 2., -1.]),
            tensor([0.5, 2., 1.]),
        ],
    );
    family.distribution()?;
    family.moments()?;
    family.mode()?;
    family.entropy()?;
    family.cdf()?;
    family.reparameterized()
}

#[test]
fn dirichlet() -> Result<()> {
    let concentration = tensor([1.7, 3., 2., 5., 1.5, 1.2]).reshape((2, 3))?;
    let mut family = row(|p: &[Tensor]| Dirichlet::new(&p[0]), [concentration]);
    family.simplex = true;
    family.mode()
}

/// The edges that users run into (torch issues 65811 and 92260): values, and gradients that are finite wherever they are.
#[test]
fn edges_of_beta() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let var = |x: &Tensor| -> Result<Var> { Ok(Var::from_tensor(&x.to_dtype(dtype)?)?) };
        let inf = f64::INFINITY;
        let a = var(&tensor([1., 1., 2., 0.5, 8., 1., 1.]))?;
        let b = var(&tensor([1., 8., 2., 1., 1., 0.5, 1.]))?;
        let x = var(&tensor([0., 0., 0., 0., 1., 1., 1.5]))?;
        let want = [0., 8f64.ln(), -inf, inf, 8f64.ln(), inf, -inf];
        let log_prob = Beta::new(&a, &b)?.log_prob(&x)?;
        let gradients = log_prob.sum_all()?.backward()?;
        for (i, (got, want)) in floats(&log_prob)?.iter().zip(want).enumerate() {
            assert!(
                *got == want || (got - want).abs() < 1e-6,
                "{i}: {got} {want}"
            );
            for var in [&a, &b, &x] {
                let slope = floats(gradients.get(var).unwrap())?[i];
                assert!(slope.is_finite(), "{i}: {slope}");
            }
        }
    }
    Ok(())
}

/// Draws, their densities and their gradients from concentrations of 1e-6 to 1e6, in f32 and f64.
#[test]
fn extreme_concentrations() -> Result<()> {
    let grid: Vec<f64> = (0..13).map(|i| 10f64.powi(i - 6)).collect();
    for dtype in [DType::F32, DType::F64] {
        let a = Var::from_tensor(
            &Tensor::new(grid.clone(), &candle_core::Device::Cpu)?.to_dtype(dtype)?,
        )?;
        let b = a.unsqueeze(1)?;
        for x in [
            Beta::new(&a, &b)?.sample(&[100], &mut Rng::new(0))?,
            Kumaraswamy::new(&a, &b)?.sample(&[100], &mut Rng::new(0))?,
        ] {
            assert!(floats(&x)?.iter().all(|x| (0. ..=1.).contains(x)));
        }
        let x = Beta::new(&a, &b)?.sample(&[100], &mut Rng::new(0))?;
        let gradients = x.sum_all()?.backward()?;
        let slopes = floats(gradients.get(&a).unwrap())?;
        assert!(slopes.iter().all(|g| g.is_finite()), "{slopes:?}");
    }
    Ok(())
}

#[test]
fn what_is_not_positive_is_refused() -> Result<()> {
    let (one, bad) = (tensor([1.]), tensor([-1.]));
    for error in [
        Gamma::new(&one, &bad).err(),
        Chi2::new(&bad).err(),
        InverseGamma::new(&bad, &one).err(),
        Weibull::new(&one, &bad).err(),
        Pareto::new(&bad, &one).err(),
        Beta::new(&one, &bad).err(),
        Kumaraswamy::new(&bad, &one).err(),
        StudentT::new(&bad, &one, &one).err(),
        Dirichlet::new(&bad).err(),
    ] {
        let message = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(
            message.contains("positive") && message.contains("-1"),
            "{message}"
        );
    }
    Ok(())
}

//! Selection of features for targets, not classes: validation, stability, and what a path tells without another run.

use candle_core::{DType, Device, Tensor};
use candle_prob::select::{
    Ahiht, CrossValidation, HihtConfig, LeastSquares, Preparation, Problem, Validated, ahiht,
    cross_validate, stability,
};
use candle_prob::{Result, Rng};

const CPU: &Device = &Device::Cpu;

/// Of 30 features the fourth and the tenth make both targets, beside noise of standard deviation 0.2.
fn planted(samples: usize, seed: u64) -> Result<[Tensor; 2]> {
    let mut rng = Rng::new(seed);
    let x = rng.normal((samples, 30), DType::F64, CPU)?;
    let (a, b) = (x.narrow(1, 3, 1)?, x.narrow(1, 9, 1)?);
    let y = Tensor::cat(&[(&a + &b)?, (a - (b * 2.)?)?], 1)?;
    let noise = (rng.normal((samples, 2), DType::F64, CPU)? * 0.2)?;
    Ok([x, ((y + noise)? + 5.)?])
}

fn validated(x: &Tensor, y: &Tensor, weights: Option<Tensor>) -> Result<Validated> {
    let how = CrossValidation {
        folds: 4,
        sizes: vec![0, 1, 2, 10],
        seed: 1,
    };
    let preparation = Preparation {
        weights,
        standardize: true,
    };
    cross_validate(x, y, &preparation, &Ahiht::default(), &how)
}

#[test]
fn cross_validation_of_targets() -> Result<()> {
    let [x, y] = planted(80, 1)?;
    let found = validated(&x, &y, None)?;
    assert_eq!(found.one_standard_error, 2, "{:?}", found.mean);
    // Without features the error is the targets' mean variance, 3.5 and the noise's; with both it is the noise's, 0.04, and
    // 60 samples leave a twentieth of it for the three parameters of each target.
    assert!((3. ..4.5).contains(&found.mean[0]), "{:?}", found.mean);
    assert!((0.03..0.055).contains(&found.mean[2]), "{:?}", found.mean);
    for criterion in [&found.aic, &found.bic, &found.ebic] {
        assert!(criterion[2] < criterion[1] && criterion[1] < criterion[0]);
    }
    // Samples without weight do not count, in errors or fits.
    let mut weights = vec![1f64; 80];
    weights[..5].fill(0.);
    let wild = y.slice_assign(&[0..5, 0..2], &Tensor::full(1e3, (5, 2), CPU)?)?;
    let weights = Tensor::new(weights, CPU)?;
    let one = validated(&x, &y, Some(weights.clone()))?;
    let two = validated(&x, &wild, Some(weights))?;
    for (one, two) in one.mean.iter().zip(&two.mean) {
        assert!((one - two).abs() < 1e-9, "{one} {two}");
    }
    let error = validated(&x.narrow(0, 0, 3)?, &y.narrow(0, 0, 3)?, None).unwrap_err();
    assert!(error.to_string().contains("folds"), "{error}");
    let error = validated(&x, &y.narrow(0, 0, 79)?, None).unwrap_err();
    assert!(error.to_string().contains("[80, C]"), "{error}");
    let error = validated(&x, &y.to_dtype(DType::F32)?, None).unwrap_err();
    assert!(error.to_string().contains("the dtype of x"), "{error}");
    // A fold without weight has no error to speak of.
    let mut lonely = vec![0f64; 80];
    lonely[..4].fill(1.);
    let error = validated(&x, &y, Some(Tensor::new(lonely, CPU)?)).unwrap_err();
    assert!(error.to_string().contains("weights"), "{error}");
    Ok(())
}

#[test]
fn stable_features_of_targets() -> Result<()> {
    let [x, y] = planted(60, 2)?;
    let how = Preparation::default();
    let found = stability(&x, &y, &how, &Ahiht::default(), 3, 20, &mut Rng::new(1))?;
    assert_eq!(found.selected(0.95), [3, 9]);
    Ok(())
}

#[test]
fn a_path_has_a_solution_for_each_size() -> Result<()> {
    let [x, y] = planted(60, 3)?;
    let problem = Problem::regression(&x, &y, &Preparation::default())?;
    let path = ahiht(&problem, &HihtConfig::default())?;
    let sizes = path.by_size();
    assert!(sizes.len() > 3);
    for pair in sizes.windows(2) {
        assert!(pair[0].support.len() < pair[1].support.len());
    }
    for solution in path.solutions() {
        let size = solution.support.len();
        let best = sizes.iter().find(|s| s.support.len() == size);
        assert!(best.is_some_and(|best| best.loss <= solution.loss));
    }
    // Scores and what they leave of the targets, whose squares are the loss.
    for solution in sizes {
        let rest = (&y - solution.scores(&x)?)?;
        let loss = 0.5 * rest.sqr()?.sum_all()?.to_scalar::<f64>()?;
        assert!((loss - solution.loss).abs() < 1e-9 * loss, "{loss}");
        let least = LeastSquares::on(&problem, &solution.support)?.loss;
        assert!(least <= solution.loss * (1. + 1e-12));
        let whole = solution.weights(30)?;
        let bias = Tensor::new(solution.bias.as_slice(), CPU)?;
        let scores = x.matmul(&whole)?.broadcast_add(&bias)?;
        let gap = (scores - solution.scores(&x)?)?.abs()?.max_all()?;
        assert!(gap.to_scalar::<f64>()? < 1e-12);
    }
    let error = path.last().scores(&x.narrow(1, 0, 5)?).unwrap_err();
    assert!(error.to_string().contains("Solution::scores"), "{error}");
    Ok(())
}

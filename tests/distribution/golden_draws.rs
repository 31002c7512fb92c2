//! The bits of a seed's draws. They are part of what users rely on: a change is listed under "Value-breaking" in the
//! changelog.

use crate::support::families::numbers;
use candle_core::{DType, Device, Tensor};
use candle_prob::bijector::Tanh;
use candle_prob::distribution::*;
use candle_prob::{Result, Rng};

const CPU: Device = Device::Cpu;

fn print<T: std::fmt::Debug>(name: &str, values: &[T]) {
    println!("{name}: {values:?}");
}

/// Run with `--nocapture` to see the values of this build.
#[test]
fn first_draws_of_seed_zero() -> Result<()> {
    let normal = Rng::new(0).normal(16, DType::F32, &CPU)?.to_vec1::<f32>()?;
    let uniform = Rng::new(0)
        .uniform(16, DType::F32, &CPU)?
        .to_vec1::<f32>()?;
    let normal_f64 = Rng::new(0).normal(16, DType::F64, &CPU)?.to_vec1::<f64>()?;
    let uniform_f64 = Rng::new(0)
        .uniform(16, DType::F64, &CPU)?
        .to_vec1::<f64>()?;
    print("NORMAL", &normal);
    print("UNIFORM", &uniform);
    print("NORMAL_F64", &normal_f64);
    print("UNIFORM_F64", &uniform_f64);
    assert_eq!(normal, NORMAL);
    assert_eq!(uniform, UNIFORM);
    assert_eq!(normal_f64, NORMAL_F64);
    assert_eq!(uniform_f64, UNIFORM_F64);
    Ok(())
}

const NORMAL: [f32; 16] = [
    -0.31975725,
    0.9114945,
    -0.48333502,
    0.9813641,
    -0.4379804,
    -1.2171615,
    0.62289894,
    0.024431378,
    1.7791189,
    0.9016574,
    1.3368576,
    0.7450547,
    -1.5634245,
    -1.6052357,
    -0.8920155,
    -0.78753495,
];
const UNIFORM: [f32; 16] = [
    0.90194494,
    0.55896217,
    0.78503853,
    0.5128742,
    0.8017505,
    0.41738874,
    0.8156573,
    0.8918498,
    0.20443028,
    0.4333983,
    0.3994674,
    0.20802909,
    0.23996395,
    0.27536982,
    0.33153707,
    0.059499443,
];
const NORMAL_F64: [f64; 16] = [
    -0.3318448887446527,
    -0.4345640787175828,
    0.45647707827184314,
    -1.1306785199501357,
    -1.0190711779598733,
    -0.2807343149265028,
    -0.4491419105063212,
    -1.4544300600925626,
    -0.09998383436025403,
    -0.5233525641483673,
    -0.3716356507644463,
    0.5899012011169101,
    2.6275660217035814,
    -1.679477287552229,
    -0.838643057382011,
    1.62546224872436,
];
const UNIFORM_F64: [f64; 16] = [
    0.42419834881511453,
    0.41046085740191673,
    0.7642275018811714,
    0.1428913874446237,
    0.22398720392116,
    0.43102636890400603,
    0.3605765599908576,
    0.2366063822171428,
    0.4750942107100261,
    0.25092579296217765,
    0.2245101939340871,
    0.6611496612568984,
    0.9477228207330116,
    0.006803984977888811,
    0.2374109775260992,
    0.9773339357319554,
];

#[test]
fn draws_of_every_family_of_numbers() -> Result<()> {
    let mut wrong = 0;
    for row in numbers() {
        let Some((parameters, want)) = &row.draws else {
            assert!(row.name.contains("::"), "{} has no draws", row.name);
            continue;
        };
        let parameters = parameters.iter().map(|x| Tensor::new(*x as f32, &CPU));
        let parameters = parameters.collect::<candle_core::Result<Vec<_>>>()?;
        let family = row.build(&parameters)?;
        let got = family.sample(&[want.len()], &mut Rng::new(0))?;
        let got = got.to_vec1::<f32>()?;
        print(row.name, &got);
        wrong += usize::from(got != *want);
    }
    assert_eq!(wrong, 0);
    Ok(())
}

#[test]
fn first_draws_of_counts() -> Result<()> {
    let one = |x: f32| Tensor::new(x, &CPU);
    let logits = Tensor::new(&[0f32, 1., -1.], &CPU)?;
    let draw = |d: &dyn Distribution, n: usize| -> Result<Vec<f32>> {
        Ok(d.sample(&[n], &mut Rng::new(0))?.flatten_all()?.to_vec1()?)
    };
    let families: [(&dyn Distribution, usize, &[f32]); 5] = [
        (&Poisson::new(&one(1e4)?)?, 4, &POISSON_LARGE),
        (&Multinomial::new(&one(20.)?, &logits)?, 2, &MULTINOMIAL),
        (&OneHotCategorical::new(&logits)?, 2, &ONE_HOT),
        (
            &RelaxedOneHotCategorical::new(&one(0.5)?, &logits)?,
            2,
            &RELAXED_ONE_HOT,
        ),
        (
            &DiscretizedLogistic::new(&one(0.)?, &one(0.2)?, 256)?,
            4,
            &PIXEL,
        ),
    ];
    let draws = families.map(|(d, n, _)| draw(d, n).unwrap());
    for (i, got) in draws.iter().enumerate() {
        print(&i.to_string(), got);
    }
    for ((_, _, want), got) in families.into_iter().zip(draws) {
        assert_eq!(got, want);
    }
    Ok(())
}

const POISSON_LARGE: [f32; 4] = [9966.0, 10045.0, 9886.0, 9971.0];
const MULTINOMIAL: [f32; 6] = [4.0, 15.0, 1.0, 6.0, 14.0, 0.0];
const ONE_HOT: [f32; 6] = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
const RELAXED_ONE_HOT: [f32; 6] = [
    0.7954149,
    0.18501157,
    0.01957348,
    0.0145863,
    0.98426086,
    0.0011528939,
];
const PIXEL: [f32; 4] = [0.44313726, 0.050980393, 0.2627451, 0.011764706];

#[test]
fn draws_of_vectors_and_angles() -> Result<()> {
    let new = |x: &[f32]| Tensor::new(x, &CPU);
    let loc = new(&[1., -1.])?;
    let factor = Tensor::new(&[[2f32, 0.], [0.5, 1.]], &CPU)?;
    let full = MultivariateNormal::new(&loc, &factor)?.sample(&[2], &mut Rng::new(0))?;
    let low = LowRankMultivariateNormal::new(&loc, &factor, &new(&[1., 2.])?)?;
    let low = low.sample(&[2], &mut Rng::new(0))?;
    let angles = VonMises::new(&loc, &new(&[0.5, 20.])?)?.sample(&[2], &mut Rng::new(0))?;
    let shares = ContinuousBernoulli::new(&new(&[-3., 0.])?)?.sample(&[2], &mut Rng::new(0))?;
    let (from, until) = (new(&[2., f32::NEG_INFINITY])?, new(&[3., 0.])?);
    let cut = TruncatedNormal::new(&loc, &new(&[1., 2.])?, &from, &until)?;
    let cut = cut.sample(&[2], &mut Rng::new(0))?;
    let mut wrong = 0;
    for (name, draws, want) in [
        ("multivariate normal", full, MULTIVARIATE_NORMAL),
        ("low rank", low, LOW_RANK),
        ("von mises", angles, VON_MISES),
        ("continuous bernoulli", shares, CONTINUOUS_BERNOULLI),
        ("truncated normal", cut, TRUNCATED_NORMAL),
    ] {
        let draws = draws.flatten_all()?.to_vec1::<f32>()?;
        print(name, &draws);
        wrong += usize::from(draws != want);
    }
    assert_eq!(wrong, 0);
    Ok(())
}

const MULTIVARIATE_NORMAL: [f32; 4] = [0.3604855, -0.24838412, 0.033329964, -0.26030344];
const LOW_RANK: [f32; 4] = [-0.32904792, 1.006443, 0.98026437, 0.6826706];
const VON_MISES: [f32; 4] = [1.9369614, -1.0510343, 0.2230807, -0.907072];
const CONTINUOUS_BERNOULLI: [f32; 4] = [0.6483962, 0.55896217, 0.45674634, 0.5128742];
const TRUNCATED_NORMAL: [f32; 4] = [2.7981539, -1.5768989, 2.6260972, -1.7456828];

/// Two draws of seed zero of simplices and of what is made from others.
#[test]
fn draws_of_combinators() -> Result<()> {
    let (zero, two) = (Tensor::new(0f32, &CPU)?, Tensor::new(2f32, &CPU)?);
    let (zeros, ends) = (
        Tensor::zeros(2, DType::F32, &CPU)?,
        Tensor::new(&[-9f32, 9.], &CPU)?,
    );
    let normal = || Normal::new(&zero, &two);
    let ones = zeros.ones_like()?;
    let mixture = MixtureSameFamily::new(Categorical::new(&zeros)?, Normal::new(&ends, &ones)?)?;
    let families: [(&str, Box<dyn Distribution>, [f32; 2]); 8] = [
        (
            "Dirichlet",
            Box::new(Dirichlet::new(&(&ones * 2.)?)?),
            DIRICHLET,
        ),
        ("MixtureSameFamily", Box::new(mixture), MIXTURE),
        (
            "MultivariateNormalDiag",
            Box::new(MultivariateNormalDiag::new(&ends, &ones)?),
            DIAGONAL,
        ),
        (
            "LogisticNormal",
            Box::new(LogisticNormal::new(&zeros, &ones)?),
            LOGISTIC_NORMAL,
        ),
        (
            "Expanded",
            Box::new(Expanded::new(normal()?, &[2])?.to_event(1)?),
            EXPANDED,
        ),
        (
            "Transformed",
            Box::new(normal()?.transformed_by(Tanh)?),
            TRANSFORMED,
        ),
        (
            "Truncated",
            Box::new(Truncated::new(normal()?, &zero, &two)?),
            TRUNCATED,
        ),
        (
            "OneHotCategoricalStraightThrough",
            Box::new(OneHotCategoricalStraightThrough::new(&zeros)?),
            STRAIGHT_THROUGH,
        ),
    ];
    let mut wrong = 0;
    for (name, family, want) in families {
        let draws = 2 / family.event_shape().iter().product::<usize>();
        let got = family.sample(&[draws], &mut Rng::new(0))?;
        let got = got.flatten_all()?.to_vec1::<f32>()?;
        print(name, &got);
        wrong += usize::from(got != want);
    }
    assert_eq!(wrong, 0);
    Ok(())
}

const DIRICHLET: [f32; 2] = [0.2905813, 0.7094187];
const MIXTURE: [f32; 2] = [-9.689533, -8.112703];
const DIAGONAL: [f32; 2] = [-9.319757, 9.911494];
const LOGISTIC_NORMAL: [f32; 2] = [0.22596242, 0.77403754];
const EXPANDED: [f32; 2] = [-0.6395145, 1.822989];
const TRANSFORMED: [f32; 2] = [-0.5645689, 0.9491356];
const TRUNCATED: [f32; 2] = [1.7401786, 0.9962318];
const STRAIGHT_THROUGH: [f32; 2] = [1.0, 0.0];

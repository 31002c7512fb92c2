//! The bits of a seed's draws. They are part of what users rely on: a change is listed under "Value-breaking" in the
//! changelog.

use candle_core::{DType, Device, Tensor};
use candle_prob::distribution::{
    ContinuousBernoulli, Distribution, LowRankMultivariateNormal, MultivariateNormal, VonMises,
};
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
fn draws_of_vectors_and_angles() -> Result<()> {
    let new = |x: &[f32]| Tensor::new(x, &CPU);
    let loc = new(&[1., -1.])?;
    let factor = Tensor::new(&[[2f32, 0.], [0.5, 1.]], &CPU)?;
    let full = MultivariateNormal::new(&loc, &factor)?.sample(&[2], &mut Rng::new(0))?;
    let low = LowRankMultivariateNormal::new(&loc, &factor, &new(&[1., 2.])?)?;
    let low = low.sample(&[2], &mut Rng::new(0))?;
    let angles = VonMises::new(&loc, &new(&[0.5, 20.])?)?.sample(&[2], &mut Rng::new(0))?;
    let shares = ContinuousBernoulli::new(&new(&[-3., 0.])?)?.sample(&[2], &mut Rng::new(0))?;
    for (name, draws, want) in [
        ("multivariate normal", full, MULTIVARIATE_NORMAL),
        ("low rank", low, LOW_RANK),
        ("von mises", angles, VON_MISES),
        ("continuous bernoulli", shares, CONTINUOUS_BERNOULLI),
    ] {
        let draws = draws.flatten_all()?.to_vec1::<f32>()?;
        print(name, &draws);
        assert_eq!(draws, want, "{name}");
    }
    Ok(())
}

const MULTIVARIATE_NORMAL: [f32; 4] = [0.; 4];
const LOW_RANK: [f32; 4] = [0.; 4];
const VON_MISES: [f32; 4] = [0.; 4];
const CONTINUOUS_BERNOULLI: [f32; 4] = [0.; 4];

//! Losses of critics on 65,536 f32 scores of data and as many of fakes, with their gradients to all of them: the crate's one
//! node for each player's terms and their mean, and what one writes with candle today.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use candle_prob::divergence::*;
use candle_prob::objective::*;
use candle_prob::{Result, Rng};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

const SCORES: usize = 65_536;

fn scores() -> [Var; 2] {
    let mut rng = Rng::new(0);
    [(); 2].map(|()| {
        let x = rng.normal(SCORES, DType::F32, &Device::Cpu).unwrap();
        Var::from_tensor(&x).unwrap()
    })
}

fn critic(c: &mut Criterion, name: &str, loss: impl AdversarialLoss) {
    let [real, fake] = scores();
    c.timed(format!("critic/{name}/fused"), || {
        let total = loss.critic(&real, &fake).unwrap().total().unwrap();
        total.backward().unwrap()
    });
}

fn candle(c: &mut Criterion, name: &str, loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) {
    let [real, fake] = scores();
    c.timed(format!("critic/{name}/candle"), || {
        loss(&real, &fake).unwrap().backward().unwrap()
    });
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: &Tensor) -> candle_core::Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.)?.log()?
}

fn losses(c: &mut Criterion) {
    critic(c, "minimax", Saturating::default());
    candle(c, "minimax", |real, fake| {
        Ok((softplus(&real.neg()?)?.mean_all()? + softplus(fake)?.mean_all()?)?)
    });
    critic(c, "kl", FGan::new(KullbackLeibler));
    candle(c, "kl", |real, fake| {
        Ok(((fake - 1.)?.exp()?.mean_all()? - real.mean_all()?)?)
    });
    critic(c, "reverse_kl", FGan::new(ReverseKl));
    candle(c, "reverse_kl", |real, fake| {
        Ok((real.neg()?.exp()?.mean_all()? + (fake - 1.)?.mean_all()?)?)
    });
    critic(c, "squared_hellinger", FGan::new(SquaredHellinger));
    candle(c, "squared_hellinger", |real, fake| {
        let gain = (1. - real.neg()?.exp()?)?;
        Ok(((fake.exp()? - 1.)?.mean_all()? - gain.mean_all()?)?)
    });
    critic(c, "jensen_shannon", FGan::new(JensenShannon));
    critic(c, "gan", FGan::new(Gan));
    critic(c, "pearson", FGan::new(Pearson));
    critic(c, "neyman", FGan::new(Neyman));
    critic(c, "total_variation", FGan::new(TotalVariation));
    critic(c, "jeffreys", FGan::new(Jeffreys));
    critic(c, "alpha", FGan::new(Alpha::new(0.3).unwrap()));
    critic(c, "least_squares", LeastSquares::default());
    critic(c, "hinge", Hinge);
    critic(c, "wasserstein", Wasserstein);
    critic(c, "relativistic_average", RelativisticAverage);
}

criterion_group! {
    name = benches;
    config = common::config().warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(1)).sample_size(50);
    targets = losses
}
criterion_main!(benches);

//! Trial steps: of them nothing may stay.

use super::*;
use candle_core::backprop::GradStore;
use candle_prob::init;

/// An optimizer that has no trial step of its own, and whose state may be refused.
struct Stranger<O> {
    inner: O,
    refuses: bool,
}

fn stranger<O>(inner: O) -> Stranger<O> {
    Stranger {
        inner,
        refuses: false,
    }
}

impl<O: Optimizer> Optimizer for Stranger<O> {
    fn variables(&self) -> &std::collections::BTreeMap<String, Var> {
        self.inner.variables()
    }
    fn step(&mut self, gradients: &GradStore) -> Result<Update> {
        self.inner.step(gradients)
    }
    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.inner.set_learning_rate(learning_rate);
    }
    fn state(&self) -> Result<State> {
        self.inner.state()
    }
    fn set_state(&mut self, state: &State) -> Result<()> {
        match self.refuses {
            true => Err(candle_core::Error::Msg("no state".into()).into()),
            false => self.inner.set_state(state),
        }
    }
}

/// The trial of the fused optimizers is that of a step that is taken back, bit for bit, in every dtype, and variables and
/// state are afterwards what they were.
#[test]
fn a_trial_leaves_no_trace() -> Result<()> {
    fn same<O: Optimizer>(dtype: DType, make: impl Fn(&VarMap) -> Result<O>) -> Result<()> {
        let start = Rng::new(7).normal((3, 50), DType::F64, &Device::Cpu)?;
        let maps = [VarMap::new(), VarMap::new()];
        let [p, q] = [0, 1].map(|k: usize| {
            let var = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
            let mut data = maps[k].data().lock().unwrap();
            data.insert("p".into(), var.clone());
            // Without a gradient: it is left alone, and what is written to it stays.
            data.insert("state".into(), Var::from_tensor(&start).unwrap());
            var
        });
        let state = init::named_vars(&maps[0])?["state"].clone();
        let (mut own, mut other) = (make(&maps[0])?, stranger(make(&maps[1])?));
        let loss = |p: &Var| (p.to_dtype(DType::F32)? - 0.5)?.sqr()?.sum_all();
        let all = |optimizer: &dyn Optimizer| -> Result<Vec<Vec<u64>>> {
            Ok(optimizer.state()?.tensors.values().map(bits).collect())
        };
        for _ in 0..4 {
            let before = (bits(&p), all(&own)?);
            let (moved, origin) = own.extrapolate(&backward(&loss(&p)?)?)?;
            let (twice, origin_of_other) = other.extrapolate(&backward(&loss(&q)?)?)?;
            assert_eq!(
                (&moved.updated, &moved.missing),
                (&vec!["p".to_string()], &vec!["state".to_string()])
            );
            assert_eq!((moved, bits(&p)), (twice, bits(&q)), "{dtype:?}");
            assert!(bits(&p) != before.0);
            let (ahead, of_other) = (backward(&loss(&p)?)?, backward(&loss(&q)?)?);
            state.set(&(state.as_detached_tensor() + 1.)?)?;
            let written = bits(&state);
            origin.restore()?;
            origin_of_other.restore()?;
            assert_eq!((bits(&p), all(&own)?), before, "{dtype:?}");
            assert_eq!(bits(&state), written);
            own.step(&ahead)?;
            other.step(&of_other)?;
            assert_eq!((bits(&p), all(&own)?), (bits(&q), all(&other)?));
        }
        Ok(())
    }
    let momentum = SgdConfig {
        momentum: 0.5,
        ..rate(0.1)
    };
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        for master_weights in [true, false] {
            let adam = AdamConfig {
                master_weights,
                weight_decay: 0.1,
                ..betas(0.1)
            };
            let sgd = SgdConfig {
                master_weights,
                ..momentum.clone()
            };
            same(dtype, |vars| Adam::new(vars, &adam))?;
            same(dtype, |vars| OptimisticAdam::new(vars, &adam))?;
            same(dtype, |vars| Sgd::new(vars, &sgd))?;
            same(dtype, |vars| OptimisticSgd::new(vars, &sgd))?;
        }
    }
    Ok(())
}

/// A trial whose state cannot be put back is an error, and its variables are where they were; so are both players' of a round.
#[test]
fn a_trial_that_fails_is_taken_back() -> Result<()> {
    let game = ZeroSum::new(&[1.], &[0.5], bilinear);
    let before = [bits(&game.x), bits(&game.y)];
    let [own, other] = &game.maps;
    let make = |vars, refuses| -> Result<_> {
        let inner = Adam::new(vars, &betas(0.1))?;
        Ok(Stranger { inner, refuses })
    };
    let gradients = backward(&bilinear(&game.x, &game.y)?)?;
    assert!(make(own, true)?.extrapolate(&gradients).is_err());
    assert_eq!([bits(&game.x), bits(&game.y)], before);
    for who in 0..2 {
        let (critic, generator) = (make(other, who == 0)?, make(own, who == 1)?);
        let mut players = Minimax::new(critic, generator, &scheme(Scheme::Extragradient))?;
        let mut round = ZeroSum {
            maps: game.maps.clone(),
            x: game.x.clone(),
            y: game.y.clone(),
            value: bilinear,
            radius: game.radius,
        };
        assert!(players.step(&mut round).is_err());
        assert_eq!([bits(&round.x), bits(&round.y)], before, "{who}");
    }
    Ok(())
}

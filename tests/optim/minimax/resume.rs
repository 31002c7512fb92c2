//! Games that are saved and go on.

use super::*;
use candle_prob::init;

/// A run that is saved and loaded goes on bit for bit, with averages and in half precision.
#[test]
fn a_resumed_game_is_the_uninterrupted_one() -> Result<()> {
    struct Run<O: Optimizer> {
        maps: [VarMap; 2],
        players: Minimax<O, O>,
        ema: Ema,
        rng: Rng,
    }
    struct Rough<'a> {
        maps: &'a [VarMap; 2],
        rng: &'a mut Rng,
    }
    impl Game for Rough<'_> {
        fn critic_loss(&mut self) -> Result<Tensor> {
            Ok(self.generator_loss()?.neg()?)
        }
        fn generator_loss(&mut self) -> Result<Tensor> {
            let x = init::named_vars(&self.maps[0])?["x"].to_dtype(DType::F64)?;
            let y = init::named_vars(&self.maps[1])?["y"].to_dtype(DType::F64)?;
            Ok(rough(self.rng)(&x, &y)?)
        }
    }
    impl<O: Optimizer> Run<O> {
        fn new(
            seed: u64,
            dtype: DType,
            update: Scheme,
            make: impl Fn(&VarMap) -> Result<O>,
        ) -> Result<Self> {
            let maps = [VarMap::new(), VarMap::new()];
            let mut rng = Rng::new(seed);
            for (vars, name) in maps.iter().zip(["x", "y"]) {
                let var = Var::from_tensor(&rng.normal(3, dtype, &Device::Cpu)?)?;
                vars.data().lock().unwrap().insert(name.into(), var);
            }
            let [own, other] = &maps;
            let config = EmaConfig {
                ramp_up: Some(0.5),
                start: 3,
                ..EmaConfig::of_half_life(20.)
            };
            Ok(Run {
                players: Minimax::new(make(other)?, make(own)?, &scheme(update))?,
                ema: Ema::new(own, &config)?,
                maps,
                rng,
            })
        }
        fn train(&mut self, steps: usize) -> Result<Vec<u64>> {
            let mut game = Rough {
                maps: &self.maps,
                rng: &mut self.rng,
            };
            let mut losses = vec![];
            for _ in 0..steps {
                let round = self.players.step(&mut game)?;
                self.ema.update(&round.generator.update)?;
                losses.push(round.critic[0].value()?.to_bits());
            }
            Ok(losses)
        }
        fn checkpoint(&mut self) -> Checkpoint<'_> {
            let (critic, generator) = self.players.players();
            Checkpoint::new()
                .vars("generator", &self.maps[0])
                .vars("critic", &self.maps[1])
                .ema("average", &mut self.ema)
                .optimizer("critic", critic)
                .optimizer("generator", generator)
                .rng("noise", &mut self.rng)
        }
        fn values(&self) -> Result<Vec<Vec<u64>>> {
            let maps = [&self.maps[0], &self.maps[1], self.ema.vars()];
            let mut all = vec![];
            for vars in maps {
                all.extend(init::named_vars(vars)?.values().map(|var| bits(var)));
            }
            Ok(all)
        }
    }
    fn resume<O: Optimizer>(
        name: &str,
        dtype: DType,
        make: impl Fn(&VarMap) -> Result<O>,
    ) -> Result<()> {
        let file =
            std::env::temp_dir().join(format!("candle-prob-game-{name}-{}", std::process::id()));
        for update in SCHEMES {
            let mut straight = Run::new(1, dtype, update, &make)?;
            straight.train(10)?;
            straight.checkpoint().save(&file)?;
            let mut second = Run::new(2, dtype, update, &make)?;
            second.train(3)?;
            second.checkpoint().load(&file)?;
            assert_eq!(second.values()?, straight.values()?);
            assert_eq!(second.train(10)?, straight.train(10)?);
            assert_eq!(second.values()?, straight.values()?, "{name} {update:?}");
        }
        std::fs::remove_file(&file).ok();
        Ok(())
    }
    for (name, dtype) in [
        ("f64", DType::F64),
        ("f32", DType::F32),
        ("bf16", DType::BF16),
    ] {
        resume(&format!("adam-{name}"), dtype, |vars| {
            Adam::new(vars, &betas(0.01))
        })?;
        resume(&format!("oadam-{name}"), dtype, |vars| {
            OptimisticAdam::new(vars, &betas(0.01))
        })?;
        resume(&format!("osgd-{name}"), dtype, |vars| {
            OptimisticSgd::new(vars, &rate(0.01))
        })?;
    }
    Ok(())
}

//! Is a checkpoint the whole training state, and is a bad file an error that changes nothing?

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarMap, linear};
use candle_prob::optim::*;
use candle_prob::rng::RngState;
use candle_prob::{Error, Result, Rng, init};
use std::path::PathBuf;

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("candle-prob-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn file(&self) -> PathBuf {
        self.0.join("run.safetensors")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A small net, its optimizer and its noise.
struct Run<O> {
    vars: VarMap,
    layers: [Linear; 2],
    optimizer: O,
    rng: Rng,
}

impl<O: Optimizer> Run<O> {
    fn new(seed: u64, width: usize, make: impl Fn(&VarMap) -> Result<O>) -> Result<Self> {
        Self::of(DType::F32, seed, width, make)
    }

    fn of(
        dtype: DType,
        seed: u64,
        width: usize,
        make: impl Fn(&VarMap) -> Result<O>,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, seed, dtype, &Device::Cpu);
        let layers = [
            linear(4, width, vb.pp("in"))?,
            linear(width, 2, vb.pp("out"))?,
        ];
        Ok(Run {
            optimizer: make(&vars)?,
            vars,
            layers,
            rng: Rng::new(seed),
        })
    }

    fn train(&mut self, from: usize, to: usize) -> Result<Vec<u32>> {
        let rate = Schedule::Cosine {
            from: 1e-2,
            to: 1e-4,
            steps: 1000,
        }
        .after_warm_up(20);
        let mut losses = vec![];
        for step in from..to {
            let dtype = self.layers[0].weight().dtype();
            let x = self.rng.normal((16, 4), dtype, &Device::Cpu)?;
            let y = x.narrow(1, 0, 2)?.sin()?;
            let hidden = self.layers[0].forward(&x)?.tanh()?;
            let loss = (self.layers[1].forward(&hidden)? - y)?.sqr()?.mean_all()?;
            self.optimizer.set_learning_rate(rate.at(step));
            let mut gradients = loss.backward()?;
            clip_grad_norm(&mut gradients, &self.vars, 0.5)?;
            self.optimizer.step(&gradients)?;
            losses.push(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?.to_bits());
        }
        Ok(losses)
    }

    fn checkpoint(&mut self) -> Checkpoint<'_> {
        Checkpoint::new()
            .vars("model", &self.vars)
            .optimizer("main", &mut self.optimizer)
            .rng("noise", &mut self.rng)
    }

    /// Every bit of the state.
    fn bits(&self) -> Result<(Vec<Vec<u64>>, RngState)> {
        let words = |t: &Tensor| -> Result<Vec<u64>> {
            let t = t.flatten_all()?.to_dtype(DType::F64)?;
            Ok(t.to_vec1::<f64>()?.iter().map(|x| x.to_bits()).collect())
        };
        let mut all = vec![];
        for var in init::named_vars(&self.vars)?.values() {
            all.push(words(var)?);
        }
        let state = self.optimizer.state()?;
        for tensor in state.tensors.values() {
            all.push(words(tensor)?);
        }
        all.push(state.numbers.values().map(|x| x.to_bits()).collect());
        Ok((all, self.rng.state()))
    }
}

fn adam(vars: &VarMap) -> Result<Adam> {
    Adam::new(
        vars,
        &AdamConfig {
            weight_decay: 0.01,
            ..AdamConfig::default()
        },
    )
}

fn sgd(vars: &VarMap) -> Result<Sgd> {
    let config = SgdConfig {
        momentum: 0.9,
        nesterov: true,
        ..SgdConfig::default()
    };
    Sgd::new(vars, &config)
}

fn resume<O: Optimizer>(
    name: &str,
    dtype: DType,
    steps: usize,
    make: fn(&VarMap) -> Result<O>,
) -> Result<()> {
    let folder = Folder::new(name);
    let mut straight = Run::of(dtype, 1, 8, make)?;
    let mut losses = straight.train(0, 2 * steps)?;
    let mut first = Run::of(dtype, 1, 8, make)?;
    first.train(0, steps)?;
    first
        .checkpoint()
        .note("epoch", 7)
        .note("best", "")
        .save(folder.file())?;
    let mut second = Run::of(dtype, 99, 8, make)?;
    second.train(0, 3)?;
    let notes = second.checkpoint().load(folder.file())?;
    assert_eq!(notes.len(), 2);
    assert_eq!((notes["epoch"].as_str(), notes["best"].as_str()), ("7", ""));
    assert_eq!(second.bits()?, first.bits()?);
    assert_eq!(second.train(steps, 2 * steps)?, losses.split_off(steps));
    assert_eq!(second.bits()?, straight.bits()?);
    // Nothing but the checkpoint is left in the folder.
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    Ok(())
}

#[test]
fn a_resumed_run_is_the_uninterrupted_run_bit_for_bit() -> Result<()> {
    resume("adam", DType::F32, 500, adam)?;
    resume("sgd", DType::F32, 50, sgd)
}

/// Master weights are part of the state.
#[test]
fn a_resumed_run_in_half_precision_is_the_uninterrupted_run() -> Result<()> {
    for (name, dtype) in [("bf16", DType::BF16), ("f16", DType::F16)] {
        resume(&format!("adam-{name}"), dtype, 50, adam)?;
        resume(&format!("sgd-{name}"), dtype, 50, sgd)?;
        let run = Run::of(dtype, 1, 8, adam)?;
        let masters = run.optimizer.state()?.tensors.into_iter();
        let masters: Vec<_> = masters.filter(|(n, _)| n.starts_with("master.")).collect();
        assert_eq!(masters.len(), 4);
        assert!(
            masters
                .iter()
                .all(|(_, master)| master.dtype() == DType::F32)
        );
    }
    Ok(())
}

/// A file as it was written before there were master weights, or by an optimizer without any: they begin at the weights.
/// The other way round they would be lost, which is refused.
#[test]
fn files_without_master_weights_are_taken() -> Result<()> {
    let folder = Folder::new("masters");
    let path = folder.file();
    let plain = |vars: &VarMap| {
        let config = AdamConfig {
            master_weights: false,
            ..AdamConfig::default()
        };
        Adam::new(vars, &config)
    };
    let mut old = Run::of(DType::BF16, 1, 8, plain)?;
    old.train(0, 5)?;
    old.checkpoint().save(&path)?;
    let mut new = Run::of(DType::BF16, 2, 8, adam)?;
    new.train(0, 3)?;
    new.checkpoint().load(&path)?;
    let weights = init::named_vars(&new.vars)?;
    let state = new.optimizer.state()?;
    for (name, var) in &weights {
        let old = init::named_vars(&old.vars)?[name].to_vec1_bits()?;
        assert_eq!(var.to_vec1_bits()?, old, "{name}");
        assert!(state.tensors.contains_key(&format!("master.{name}")));
    }
    // A step later each master is a small step from the weight it began at.
    let before: Vec<Vec<f32>> = weights
        .values()
        .map(|v| v.floats())
        .collect::<Result<_>>()?;
    new.train(5, 6)?;
    let state = new.optimizer.state()?;
    for (name, before) in weights.keys().zip(before) {
        let master = state.tensors[&format!("master.{name}")].floats()?;
        for (master, before) in master.iter().zip(before) {
            assert!((master - before).abs() < 1e-2, "{name}: {master} {before}");
        }
    }
    new.checkpoint().save(&path)?;
    refused(&mut old, &path, "@optimizer.main@tensor.master.")?;
    let error = old.checkpoint().load_parts(&path).unwrap_err().to_string();
    assert!(error.contains("no master weights"), "{error}");
    Ok(())
}

trait Numbers {
    fn floats(&self) -> Result<Vec<f32>>;
    fn to_vec1_bits(&self) -> Result<Vec<u32>> {
        Ok(self.floats()?.into_iter().map(f32::to_bits).collect())
    }
}

impl Numbers for Tensor {
    fn floats(&self) -> Result<Vec<f32>> {
        Ok(self.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }
}

#[test]
fn words_of_the_generator_survive_exactly() -> Result<()> {
    let folder = Folder::new("words");
    for (key, draws) in [
        (u64::MAX, 1),
        (1 << 63, u64::MAX),
        (0x8000_0000_0000_0001, (1 << 53) + 1),
        (0, 0),
    ] {
        let mut rng = Rng::from_state(RngState { key, draws });
        Checkpoint::new()
            .rng("noise", &mut rng)
            .save(folder.file())?;
        let mut back = Rng::new(3);
        Checkpoint::new()
            .rng("noise", &mut back)
            .load(folder.file())?;
        assert_eq!(back, rng);
    }
    Ok(())
}

/// Loading fails with one line naming the file, and changes nothing.
fn refused<O: Optimizer>(run: &mut Run<O>, path: &PathBuf, why: &str) -> Result<()> {
    let before = run.bits()?;
    let error = run.checkpoint().load(path).expect_err(why);
    assert!(matches!(error, Error::File { .. }), "{why}: {error}");
    let text = error.to_string();
    assert!(
        text.contains("run.safetensors") && !text.contains('\n'),
        "{why}: {text}"
    );
    assert!(text.contains(why), "expected {why:?} in {text:?}");
    assert_eq!(run.bits()?, before, "{why}");
    Ok(())
}

#[test]
fn files_that_do_not_fit_are_refused_whole() -> Result<()> {
    let folder = Folder::new("misfits");
    let path = folder.file();
    let mut saved = Run::new(1, 8, adam)?;
    saved.train(0, 3)?;
    let mut other = Run::new(2, 8, adam)?;
    other.train(0, 2)?;

    refused(&mut other, &path, "a readable file")?;
    saved.checkpoint().save(&path)?;
    refused(
        &mut Run::new(2, 9, adam)?,
        &path,
        "[9] model.in.bias, found f32 [8]",
    )?;
    refused(&mut Run::new(2, 8, sgd)?, &path, "sgd")?;

    // A variable too many and one too few, here and in the file.
    let one = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
    let extra = |run: &Run<Adam>| {
        let var = candle_core::Var::from_tensor(&one).unwrap();
        run.vars.data().lock().unwrap().insert("extra".into(), var);
    };
    let mut more = Run::new(2, 8, adam)?;
    extra(&more);
    refused(&mut more, &path, "model.extra")?;
    more.checkpoint().save(&path)?;
    refused(&mut other, &path, "model.extra")?;

    // Another dtype.
    saved.checkpoint().save(&path)?;
    let name = "in.weight".to_string();
    let half = saved.vars.data().lock().unwrap()[&name].to_dtype(DType::F64)?;
    let mut wide = Run::new(2, 8, adam)?;
    let half = candle_core::Var::from_tensor(&half)?;
    wide.vars.data().lock().unwrap().insert(name, half);
    refused(&mut wide, &path, "f64")?;

    // Parts left out or unknown.
    let error = Checkpoint::new()
        .vars("model", &other.vars)
        .load(&path)
        .unwrap_err();
    assert!(
        error.to_string().contains("only the parts asked for"),
        "{error}"
    );
    let error = Checkpoint::new()
        .vars("critic", &other.vars)
        .load_parts(&path)
        .unwrap_err();
    assert!(error.to_string().contains("critic."), "{error}");
    Checkpoint::new()
        .vars("model", &other.vars)
        .load_parts(&path)?;
    assert_eq!(other.bits()?.0[..4], saved.bits()?.0[..4]);

    // Two optimizers, the second refuses: the first is put back.
    let error = Checkpoint::new()
        .vars("a b", &other.vars)
        .save(&path)
        .unwrap_err();
    assert!(matches!(error, Error::Value { .. }), "{error}");
    let twice = Checkpoint::new()
        .vars("m", &other.vars)
        .vars("m", &other.vars);
    assert!(twice.save(&path).is_err());
    let missing = folder.0.join("no").join("run.safetensors");
    let error = other.checkpoint().save(&missing).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    Ok(())
}

#[test]
fn when_one_optimizer_refuses_the_others_are_put_back() -> Result<()> {
    let folder = Folder::new("undo");
    let path = folder.file();
    let (mut a, mut b) = (Run::new(1, 8, adam)?, Run::new(2, 8, sgd)?);
    a.train(0, 3)?;
    b.train(0, 3)?;
    b.optimizer.set_learning_rate(f64::NAN);
    let both = |a: &mut Run<Adam>, b: &mut Run<Sgd>, save: bool| -> Result<()> {
        let list = Checkpoint::new()
            .vars("a", &a.vars)
            .vars("b", &b.vars)
            .optimizer("a", &mut a.optimizer)
            .optimizer("b", &mut b.optimizer)
            .rng("a", &mut a.rng);
        if save {
            return list.save(&path);
        }
        list.load(&path).map(|_| ())
    };
    both(&mut a, &mut b, true)?;
    b.optimizer.set_learning_rate(0.1);
    a.train(3, 5)?;
    b.train(3, 5)?;
    let before = (a.bits()?, b.bits()?);
    let error = both(&mut a, &mut b, false).unwrap_err().to_string();
    assert!(error.contains("lr") && !error.contains('\n'), "{error}");
    assert_eq!((a.bits()?, b.bits()?), before);
    Ok(())
}

#[test]
fn damaged_files_are_refused_whole() -> Result<()> {
    let folder = Folder::new("damage");
    let path = folder.file();
    let mut run = Run::new(1, 8, adam)?;
    run.train(0, 3)?;
    run.checkpoint().note("epoch", 1).save(&path)?;
    let good = std::fs::read(&path).unwrap();
    run.train(3, 5)?;
    for cut in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        std::fs::write(&path, &good[..cut]).unwrap();
        refused(&mut run, &path, "")?;
    }
    // One bit anywhere, in the header or in the data.
    for at in (0..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let before = run.bits()?;
        let error = run.checkpoint().load(&path).expect_err("one bit");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert!(matches!(error, Error::File { .. }), "{at}: {error}");
        assert_eq!(run.bits()?, before);
    }
    let mut long = good.clone();
    long.push(0);
    std::fs::write(&path, &long).unwrap();
    refused(&mut run, &path, "")?;
    // Another safetensors file.
    run.vars.save(&path)?;
    refused(&mut run, &path, "no format name")?;
    std::fs::write(&path, &good).unwrap();
    run.checkpoint().load(&path)?;
    Ok(())
}

#[test]
fn weights_are_readable_by_others() -> Result<()> {
    let folder = Folder::new("others");
    let mut run = Run::new(1, 8, adam)?;
    run.train(0, 3)?;
    run.checkpoint().save(folder.file())?;
    let tensors = candle_core::safetensors::load(folder.file(), &Device::Cpu)?;
    let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu).pp("model");
    let layer = linear(4, 8, vb.pp("in"))?;
    let (got, want) = (layer.weight(), run.layers[0].weight());
    assert_eq!(got.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
    Ok(())
}

/// Weights of the same shapes that were built otherwise.
#[test]
fn another_config_is_refused() -> Result<()> {
    let folder = Folder::new("config");
    let path = folder.file();
    let mut run = Run::new(1, 8, adam)?;
    run.train(0, 3)?;
    run.checkpoint().config("net", &("tanh", 2.)).save(&path)?;
    run.train(3, 5)?;
    let before = run.bits()?;
    for (name, config, texts) in [
        (
            "net",
            ("tanh", 3.),
            [r#"("tanh", 3.0)"#, r#"("tanh", 2.0)"#],
        ),
        ("other", ("tanh", 2.), ["other built from", "none"]),
    ] {
        let error = run.checkpoint().config(name, &config).load(&path);
        let error = error.unwrap_err().to_string();
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
        assert_eq!(run.bits()?, before);
    }
    // What differs is told, and nothing else.
    let list = run.checkpoint().config("other", &1);
    let error = list.config("net", &("tanh", 2.)).config("size", &3);
    let error = error.load(&path).unwrap_err().to_string();
    assert!(
        error.contains("other built from 1, size built from 3, found none, none"),
        "{error}"
    );
    assert!(!error.contains("net"), "{error}");
    assert_eq!(run.bits()?, before);
    // A config that is not asked for is a part that is not asked for.
    refused(&mut run, &path, "@config.net")?;
    run.checkpoint().load_parts(&path)?;
    run.train(3, 5)?;
    assert_eq!(run.bits()?, before);
    run.checkpoint().config("net", &("tanh", 2.)).load(&path)?;
    assert_ne!(run.bits()?, before);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_checkpoint_has_the_permissions_of_any_new_file() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("permissions");
    let plain = folder.0.join("plain");
    std::fs::write(&plain, "").unwrap();
    Checkpoint::new().note("epoch", 1).save(folder.file())?;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(folder.file()), mode(plain));
    Ok(())
}

#[test]
fn two_optimizers_of_one_map_go_into_one_file_and_back() -> Result<()> {
    let folder = Folder::new("players");
    let path = folder.file();
    let inner = |vars: &VarMap| adam(&under(vars, &["in"])?);
    let step = |run: &mut Run<Adam>, outer: &mut Sgd| -> Result<()> {
        let x = run.rng.normal((16, 4), DType::F32, &Device::Cpu)?;
        let hidden = run.layers[0].forward(&x)?.tanh()?;
        let loss = run.layers[1].forward(&hidden)?.sqr()?.mean_all()?;
        let gradients = backward(&loss)?;
        run.optimizer.step(&gradients)?;
        outer.step(&gradients)?;
        Ok(())
    };
    let list = |run: &mut Run<Adam>, outer: &mut Sgd, save: bool| -> Result<()> {
        let names = ["inner", "outer"];
        let list = Checkpoint::new()
            .vars("model", &run.vars)
            .optimizer(names[0], &mut run.optimizer)
            .optimizer(names[1], outer)
            .rng("noise", &mut run.rng);
        match save {
            true => list.save(&path),
            false => list.load(&path).map(drop),
        }
    };
    let mut run = Run::new(1, 8, inner)?;
    let mut outer = sgd(&under(&run.vars, &["out"])?)?;
    for _ in 0..3 {
        step(&mut run, &mut outer)?;
    }
    list(&mut run, &mut outer, true)?;
    for _ in 0..3 {
        step(&mut run, &mut outer)?;
    }
    let mut other = Run::new(2, 8, inner)?;
    let mut second = sgd(&under(&other.vars, &["out"])?)?;
    list(&mut other, &mut second, false)?;
    for _ in 0..3 {
        step(&mut other, &mut second)?;
    }
    assert_eq!(other.bits()?, run.bits()?);
    let momentum = |sgd: &Sgd| -> Result<Vec<Vec<f32>>> {
        let flat = |t: &Tensor| Ok(t.flatten_all()?.to_vec1::<f32>()?);
        sgd.state()?.tensors.values().map(flat).collect()
    };
    assert_eq!(momentum(&second)?, momentum(&outer)?);
    // The same kinds over the other part do not fit.
    let mut wrong = Run::new(3, 8, |vars: &VarMap| adam(&under(vars, &["out"])?))?;
    let mut part = sgd(&under(&wrong.vars, &["in"])?)?;
    let error = list(&mut wrong, &mut part, false).unwrap_err().to_string();
    assert!(error.contains("inner") && error.contains("out."), "{error}");
    Ok(())
}

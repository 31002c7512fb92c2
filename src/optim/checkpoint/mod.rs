//! The whole training state in one file.

mod file;

use super::{Ema, Optimizer, State};
use crate::error::{Error, Result};
use crate::init::named_vars;
use crate::rng::{Rng, RngState};
use candle_core::{Device, Tensor};
use candle_nn::VarMap;
use file::{Tensors, kind_of, read_text, text, words};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

/// A list of the parts of a training run, to be saved into one file or loaded from it.
///
/// What it is: weights, optimizer states with their step counts and configurations, averages of weights, random number
/// generators, configs (what the shapes of weights do not tell: a bound, an activation), and notes (texts by key: the epoch,
/// the best loss so far). The same list saves and loads. Schedules are functions of the step and need no place. A run that
/// is saved and loaded goes on bit for bit as one that was never interrupted, provided the data come in an order drawn from
/// a saved [`Rng`].
///
/// Files: safetensors. Weights are called `part.path`, so other readers find them
/// (`VarBuilder::from_mmaped_safetensors(..).pp("part")`); names of everything else begin with `@`. A file is written
/// beside its final name and then renamed: a crash leaves the old file or the new one.
///
/// Errors: [`Error::File`] naming the file: it cannot be read or written, is cut short or damaged (there is a checksum),
/// is no checkpoint or one of another version, was written with another config, or does not hold exactly the parts of the
/// list with exactly their names, shapes and dtypes. (Files without master weights are taken: these then begin at the
/// weights.) After an error of [`load`](Checkpoint::load) nothing has changed, in any part.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::optim::{Adam, AdamConfig, Checkpoint};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// # let path = std::env::temp_dir().join(format!("candle-prob-doc-{}.safetensors", std::process::id()));
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// candle_nn::linear(3, 1, vb.pp("layer"))?;
/// let mut adam = Adam::new(&vars, &AdamConfig::default())?;
/// let mut rng = Rng::new(2);
/// Checkpoint::new()
///     .vars("model", &vars)
///     .optimizer("adam", &mut adam)
///     .rng("noise", &mut rng)
///     .note("epoch", 3)
///     .save(&path)?;
///
/// let notes = Checkpoint::new()
///     .vars("model", &vars)
///     .optimizer("adam", &mut adam)
///     .rng("noise", &mut rng)
///     .load(&path)?;
/// assert_eq!(notes["epoch"], "3");
/// # std::fs::remove_file(&path).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Checkpoint<'a> {
    vars: Vec<(String, VarMap)>,
    optimizers: Vec<(String, Stated<'a>)>,
    rngs: Vec<(String, &'a mut Rng)>,
    configs: Vec<(String, String)>,
    notes: Vec<(String, String)>,
}

/// What has a state beside weights.
enum Stated<'a> {
    Optimizer(&'a mut dyn Optimizer),
    Ema(&'a mut Ema),
}

impl Stated<'_> {
    fn state(&self) -> Result<State> {
        match self {
            Stated::Optimizer(optimizer) => optimizer.state(),
            Stated::Ema(ema) => ema.state(),
        }
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        match self {
            Stated::Optimizer(optimizer) => optimizer.set_state(state),
            Stated::Ema(ema) => ema.set_state(state),
        }
    }
}

const CONFIG: &str = "@config.";
const NOTE: &str = "@note.";
/// Between an optimizer's name and the variable's.
const MASTER: &str = "@tensor.master.";

impl<'a> Checkpoint<'a> {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the variables of a map under the name of a part.
    pub fn vars(mut self, part: &str, vars: &'a VarMap) -> Self {
        self.vars.push((part.into(), vars.clone()));
        self
    }

    /// Adds an optimizer's state under a name.
    pub fn optimizer(mut self, name: &str, optimizer: &'a mut dyn Optimizer) -> Self {
        let stated = Stated::Optimizer(optimizer);
        self.optimizers.push((name.into(), stated));
        self
    }

    /// Adds the averages of an [`Ema`] under the name of a part, as weights, and what it needs to go on.
    pub fn ema(mut self, part: &str, ema: &'a mut Ema) -> Self {
        self.vars.push((part.into(), ema.vars().clone()));
        self.optimizers.push((part.into(), Stated::Ema(ema)));
        self
    }

    /// Adds a random number generator under a name.
    pub fn rng(mut self, name: &str, rng: &'a mut Rng) -> Self {
        self.rngs.push((name.into(), rng));
        self
    }

    /// Adds what a part was built from, under a name: a file that was written with another one is refused. Two are the same
    /// if their `Debug` texts are.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::VarMap;
    /// use candle_prob::flow::{RealNvpConfig, real_nvp};
    /// use candle_prob::init;
    /// use candle_prob::optim::Checkpoint;
    /// # fn main() -> candle_prob::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("candle-prob-config-{}.safetensors", std::process::id()));
    /// let vars = VarMap::new();
    /// let config = RealNvpConfig { bound: 2., ..Default::default() };
    /// real_nvp(&config, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
    /// Checkpoint::new().vars("flow", &vars).config("flow", &config).save(&path)?;
    /// // All shapes fit, but the weights mean something else.
    /// let other = RealNvpConfig { bound: 3., ..config };
    /// let error = Checkpoint::new().vars("flow", &vars).config("flow", &other).load(&path);
    /// assert!(error.unwrap_err().to_string().contains("bound: 3.0"));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(mut self, name: &str, config: &impl Debug) -> Self {
        self.configs.push((name.into(), format!("{config:?}")));
        self
    }

    /// Adds a note; of two with one key the later counts. Notes are not part of what [`load`](Checkpoint::load) insists
    /// on: it returns those of the file.
    pub fn note(mut self, key: &str, value: impl ToString) -> Self {
        self.notes.push((key.into(), value.to_string()));
        self
    }

    /// Writes the file, replacing one that is there.
    pub fn save(self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut tensors = self.tensors()?;
        for (key, value) in &self.notes {
            tensors.insert(format!("{NOTE}{key}"), text(value)?);
        }
        file::write(path, tensors)
    }

    /// Loads all parts of the list and returns the notes of the file, which must hold nothing but them.
    pub fn load(self, path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
        self.read(path.as_ref(), true)
    }

    /// As [`load`](Checkpoint::load), but the file may hold further parts: the weights for sampling, say, without the
    /// optimizer. Each part of the list must still match in full.
    pub fn load_parts(self, path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
        self.read(path.as_ref(), false)
    }

    /// Everything but notes and format.
    fn tensors(&self) -> Result<Tensors> {
        let names = (self.vars.iter().map(|(name, _)| ("vars", name)))
            .chain(self.optimizers.iter().map(|(name, _)| ("optimizer", name)))
            .chain(self.rngs.iter().map(|(name, _)| ("rng", name)))
            .chain(self.configs.iter().map(|(name, _)| ("config", name)));
        let mut seen = BTreeMap::new();
        for (what, name) in names {
            let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if name.is_empty()
                || !name.chars().all(plain)
                || seen.insert((what, name), ()).is_some()
            {
                let expected = "distinct names of letters, digits, - and _";
                return Err(Error::value(
                    "Checkpoint",
                    "name",
                    expected,
                    format!("{name:?}"),
                ));
            }
        }
        let mut tensors = Tensors::new();
        for (part, vars) in &self.vars {
            for (name, var) in named_vars(vars)? {
                tensors.insert(format!("{part}.{name}"), var.as_detached_tensor());
            }
        }
        for (name, optimizer) in &self.optimizers {
            let State {
                kind,
                numbers,
                tensors: own,
            } = optimizer.state()?;
            let prefix = optimizer_prefix(name);
            tensors.insert(format!("{prefix}kind"), text(&kind)?);
            for (key, x) in numbers {
                tensors.insert(
                    format!("{prefix}number.{key}"),
                    Tensor::new(x, &Device::Cpu)?,
                );
            }
            for (key, tensor) in own {
                tensors.insert(format!("{prefix}tensor.{key}"), tensor);
            }
        }
        for (name, rng) in &self.rngs {
            let RngState { key, draws } = rng.state();
            tensors.insert(format!("@rng.{name}"), words(&[key, draws])?);
        }
        for (name, config) in &self.configs {
            tensors.insert(format!("{CONFIG}{name}"), text(config)?);
        }
        Ok(tensors)
    }

    fn read(mut self, path: &Path, all: bool) -> Result<BTreeMap<String, String>> {
        let found = file::read(path)?;
        let expected = self.tensors()?;
        let wrong = |expected: String, found: String| file::error(path, expected, found);
        // Configs before all: what differs in the others may follow from them.
        let mut differing = vec![];
        for (name, config) in &self.configs {
            let found = found.get(&format!("{CONFIG}{name}")).map(read_text);
            let found = found.transpose()?.unwrap_or_else(|| "none".into());
            if found != *config {
                differing.push((format!("{name} built from {config}"), found));
            }
        }
        if !differing.is_empty() {
            let (expected, found): (Vec<_>, Vec<_>) = differing.into_iter().unzip();
            return Err(wrong(expected.join(", "), found.join(", ")));
        }
        // Weights first: their names say more than those of the moments.
        let (state, weights): (Vec<_>, Vec<_>) =
            expected.iter().partition(|(name, _)| name.starts_with('@'));
        for (name, like) in weights.into_iter().chain(state) {
            let Some(tensor) = found.get(name) else {
                // A file of an optimizer without master weights, or of before there were any: they begin at the weights.
                let none = |prefix: &str| !found.keys().any(|n| n.starts_with(prefix));
                if let Some(at) = name.find(MASTER)
                    && name.starts_with('@')
                    && none(&name[..at + MASTER.len()])
                {
                    continue;
                }
                return Err(wrong(format!("{} {name}", kind_of(like)), "none".into()));
            };
            // Told in words, and before the names that differ because of it ("@kind" sorts first).
            if name.starts_with("@optimizer.") && name.ends_with("@kind") {
                let (kind, found) = (read_text(like)?, read_text(tensor)?);
                if kind != found {
                    return Err(wrong(format!("{name} {kind}"), found));
                }
            } else if tensor.dims() != like.dims() || tensor.dtype() != like.dtype() {
                return Err(wrong(format!("{} {name}", kind_of(like)), kind_of(tensor)));
            }
        }
        let foreign = found
            .keys()
            .find(|name| all && !expected.contains_key(*name) && !name.starts_with(NOTE));
        if let Some(name) = foreign {
            return Err(wrong("only the parts asked for".into(), name.clone()));
        }
        let mut notes = BTreeMap::new();
        for (name, tensor) in &found {
            if let Some(key) = name.strip_prefix(NOTE) {
                notes.insert(key.to_string(), read_text(tensor)?);
            }
        }
        let mut rngs = vec![];
        for (name, _) in &self.rngs {
            let words = match found.get(&format!("@rng.{name}")) {
                Some(tensor) => tensor.to_vec1::<i64>()?,
                None => vec![],
            };
            let [key, draws] = words[..] else {
                return Err(wrong(
                    format!("two words for {name}"),
                    words.len().to_string(),
                ));
            };
            rngs.push(RngState {
                key: key as u64,
                draws: draws as u64,
            });
        }
        let mut weights = vec![];
        for (part, vars) in &self.vars {
            for (name, var) in named_vars(vars)? {
                if let Some(tensor) = found.get(&format!("{part}.{name}")) {
                    weights.push((var.clone(), tensor.to_device(var.device())?));
                }
            }
        }
        // From here on only an optimizer can refuse; those before it are then put back.
        let mut undo: Vec<State> = vec![];
        let mut refusal = None;
        for (name, optimizer) in &mut self.optimizers {
            let before = optimizer.state()?;
            let result = state_of(&found, name).and_then(|state| optimizer.set_state(&state));
            if let Err(error) = result {
                refusal = Some(wrong(format!("a state for {name}"), error.to_string()));
                break;
            }
            undo.push(before);
        }
        if let Some(refusal) = refusal {
            for ((_, optimizer), before) in self.optimizers.iter_mut().zip(&undo) {
                optimizer.set_state(before)?;
            }
            return Err(refusal);
        }
        for (var, tensor) in weights {
            var.set(&tensor)?;
        }
        for ((_, rng), state) in self.rngs.iter_mut().zip(rngs) {
            **rng = Rng::from_state(state);
        }
        Ok(notes)
    }
}

fn optimizer_prefix(name: &str) -> String {
    format!("@optimizer.{name}@")
}

fn state_of(found: &Tensors, name: &str) -> Result<State> {
    let prefix = optimizer_prefix(name);
    let mut state = State {
        kind: String::new(),
        numbers: BTreeMap::new(),
        tensors: BTreeMap::new(),
    };
    for (name, tensor) in found {
        let Some(key) = name.strip_prefix(&prefix) else {
            continue;
        };
        if let Some(key) = key.strip_prefix("number.") {
            state.numbers.insert(key.into(), tensor.to_scalar::<f64>()?);
        } else if let Some(key) = key.strip_prefix("tensor.") {
            state.tensors.insert(key.into(), tensor.clone());
        } else {
            state.kind = read_text(tensor)?;
        }
    }
    Ok(state)
}

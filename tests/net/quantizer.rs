//! Vector quantization: reference values, gradients, the state that training writes, what is refused.

use crate::support::floats;
use crate::support::golden::{self, file, list};
use candle_core::{DType, Device, ModuleT, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::Axis;
use candle_prob::init::{self, named_vars};
use candle_prob::net::{Codebook, VectorQuantizer, VectorQuantizerConfig, vector_quantizer};
use candle_prob::objective::vq;
use candle_prob::optim::{Adam, AdamConfig, Checkpoint, Optimizer};
use candle_prob::{Detach, Error, Result, Rng};
use serde_json::Value;
use std::collections::BTreeMap;

const CPU: &Device = &Device::Cpu;

const LEARNED: Codebook = Codebook::Gradient;
const AVERAGED: Codebook = Codebook::MovingAverage { smoothing: 0. };
const SMOOTHED: Codebook = Codebook::MovingAverage { smoothing: 1e-5 };

fn config(codes: usize, dims: usize, codebook: Codebook) -> VectorQuantizerConfig {
    VectorQuantizerConfig {
        codes,
        dims,
        axis: Axis::Feature,
        codebook,
        decay: 0.9,
    }
}

fn made(config: &VectorQuantizerConfig, dtype: DType) -> Result<(VectorQuantizer, VarMap)> {
    let vars = VarMap::new();
    let quantizer = vector_quantizer(config, init::seeded(&vars, 1, dtype, CPU))?;
    Ok((quantizer, vars))
}

fn set(vars: &VarMap, name: &str, value: &Tensor) -> Result<()> {
    Ok(named_vars(vars)?[name].set(value)?)
}

/// Every bit of every variable.
fn bits(vars: &VarMap) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = named_vars(vars)?.into_iter();
    all.map(|(name, var)| Ok((name, floats(&var)?.into_iter().map(f64::to_bits).collect())))
        .collect()
}

struct Reference {
    all: Value,
    kind: &'static str,
    dtype: DType,
}

impl Reference {
    fn new(kind: &'static str, dtype: DType) -> Self {
        let all = file(include_str!("../golden/vae.json"));
        Reference { all, kind, dtype }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let case = &self.all[self.kind][name];
        match case.as_f64() {
            Some(x) => vec![x],
            None => list(case).into_iter().flatten().collect(),
        }
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let data = self.numbers(name);
        let dims = match data.len() % 3 {
            0 => vec![data.len() / 3, 3],
            _ => vec![data.len()],
        };
        Ok(Tensor::from_vec(data, dims, CPU)?.to_dtype(self.dtype)?)
    }

    fn check(&self, name: &str, got: &[f64]) {
        let tolerance = self.all["tolerance"][self.dtype.as_str()].as_f64().unwrap();
        let want = self.numbers(name);
        assert_eq!(got.len(), want.len(), "{name}");
        for (got, want) in got.iter().zip(want) {
            golden::check(name, *got, want, 1., self.dtype, tolerance);
        }
    }
}

#[test]
fn codes_losses_and_gradients_are_those_of_the_reference() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let case = Reference::new("vq_vae", dtype);
        let (quantizer, vars) = made(&config(4, 3, LEARNED), dtype)?;
        set(&vars, "codebook", &case.tensor("codebook")?)?;
        let z = Var::from_tensor(&case.tensor("z_e")?)?;
        let found = quantizer.quantize_t(&z, true)?;
        case.check("indices", &floats(&found.index)?);
        case.check("z_q", &floats(&found.output)?);
        assert_eq!(floats(&found.output)?, floats(&found.codes)?);
        case.check("perplexity", &[found.perplexity()?]);
        let parts = vq(&found.rows, &found.codes, case.numbers("beta")[0])?;
        let loss = (parts.total.sum_all()? / 21.)?;
        case.check("loss", &floats(&loss)?);
        let through = (&found.output * case.tensor("upstream")?)?.sum_all()?;
        let gradients = (loss + through)?.backward()?;
        case.check("grad_z_e", &floats(gradients.get(&z).unwrap())?);
        let codebook = &named_vars(&vars)?["codebook"];
        case.check("grad_codebook", &floats(gradients.get(codebook).unwrap())?);
        // Detached, it says the same, and its codes have no gradient.
        let same = quantizer.detach().quantize(&z)?;
        assert_eq!(floats(&same.output)?, floats(&found.output)?);
        let parts = vq(&same.rows, &same.codes, 0.25)?;
        assert!(parts.total.sum_all()?.backward()?.get(codebook).is_none());
    }
    Ok(())
}

#[test]
fn a_moving_average_is_that_of_the_reference() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let case = Reference::new("vq_vae_ema", dtype);
        let config = VectorQuantizerConfig {
            decay: case.numbers("decay")[0],
            ..config(4, 3, AVERAGED)
        };
        let (quantizer, vars) = made(&config, dtype)?;
        for (name, from) in [("codebook", "codebook"), ("counts", "N"), ("sums", "m")] {
            set(&vars, name, &case.tensor(from)?)?;
        }
        let found = quantizer.quantize_t(&case.tensor("z_e")?, true)?;
        case.check("indices", &floats(&found.index)?);
        // By the codes before.
        let before = case.tensor("codebook")?.index_select(&found.index, 0)?;
        assert_eq!(floats(&found.output)?, floats(&before)?);
        case.check("N_new", &floats(&quantizer.counts()?)?);
        case.check("m_new", &floats(&named_vars(&vars)?["sums"])?);
        case.check("codebook_new", &floats(&quantizer.codebook()?)?);
    }
    Ok(())
}

/// The formula of the smoothing beside plain numbers; both kinds of averages have no gradient.
#[test]
fn smoothed_averages_are_those_of_the_formula() -> Result<()> {
    let smoothing = 0.3;
    let codebook = Codebook::MovingAverage { smoothing };
    let (quantizer, vars) = made(&config(3, 2, codebook), DType::F64)?;
    quantizer.initialize(
        &Rng::new(2).normal((9, 2), DType::F64, CPU)?,
        &mut Rng::new(3),
    )?;
    let [counts, sums] = ["counts", "sums"].map(|name| floats(&named_vars(&vars).unwrap()[name]));
    let (mut counts, mut sums) = (counts?, sums?);
    let z = Var::from_tensor(&Rng::new(4).normal((20, 2), DType::F64, CPU)?)?;
    let found = quantizer.quantize_t(&z, true)?;
    let rows = floats(&z)?;
    counts.iter_mut().chain(&mut sums).for_each(|x| *x *= 0.9);
    for (row, k) in rows.chunks(2).zip(found.index.to_vec1::<u32>()?) {
        counts[k as usize] += 0.1;
        for i in 0..2 {
            sums[2 * k as usize + i] += 0.1 * row[i];
        }
    }
    let total: f64 = counts.iter().sum();
    let after = floats(&quantizer.codebook()?)?;
    for (i, got) in after.iter().enumerate() {
        let count = (counts[i / 2] + smoothing) / (total + 3. * smoothing) * total;
        assert!((got - sums[i] / count).abs() < 1e-12, "{got} {i}");
    }
    let gradients = vq(&found.rows, &found.codes, 1.)?.total.backward()?;
    assert!(gradients.get(&named_vars(&vars)?["codebook"]).is_none());
    assert!(gradients.get(&z).is_some());
    Ok(())
}

/// A code that nothing chooses keeps its vector, also when its count is long forgotten; smoothed ones stay finite.
#[test]
fn codes_without_rows_stay_finite() -> Result<()> {
    let near = Tensor::zeros((8, 2), DType::F32, CPU)?;
    for codebook in [AVERAGED, SMOOTHED, LEARNED] {
        let config = VectorQuantizerConfig {
            decay: 0.5,
            ..config(2, 2, codebook)
        };
        let (quantizer, vars) = made(&config, DType::F32)?;
        let far = Tensor::new(&[[0f32, 0.], [100., -3.]], CPU)?;
        set(&vars, "codebook", &far)?;
        if codebook != LEARNED {
            set(&vars, "sums", &far)?;
        }
        for _ in 0..300 {
            quantizer.quantize_t(&near, true)?;
        }
        let codes = quantizer.codebook()?.to_vec2::<f32>()?;
        assert_eq!(codes[0], [0., 0.]);
        if codebook == SMOOTHED {
            assert!(codes[1].iter().all(|x| x.is_finite()));
        } else {
            let off = (codes[1][0] - 100.).abs() + (codes[1][1] + 3.).abs();
            assert!(off < 1e-3, "{:?}", codes[1]);
        }
        assert_eq!(quantizer.counts()?.to_vec1::<f32>()?, [8., 0.]);
    }
    Ok(())
}

/// A code for each pixel, laid out as the image; the gradient of the output is that of z, as it came.
#[test]
fn images_are_rows_of_channels() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let vectors = config(7, 5, LEARNED);
        let images = VectorQuantizerConfig {
            axis: Axis::Channel,
            ..vectors
        };
        let ((a, _), (b, _)) = (made(&vectors, dtype)?, made(&images, dtype)?);
        let mut rng = Rng::new(5);
        let z = (rng.normal((2, 5, 3, 4), dtype, CPU)? * 0.1)?;
        for batch in [&[2, 5, 3, 4][..], &[5, 3, 8], &[2, 1, 5, 12, 1]] {
            let z = Var::from_tensor(&z.reshape(batch)?)?;
            let rank = batch.len();
            let last = z
                .transpose(rank - 3, rank - 2)?
                .transpose(rank - 2, rank - 1)?;
            let (rows, found) = (a.quantize(&last)?, b.quantize(&z)?);
            let batch_of_index = [&batch[..rank - 3], &batch[rank - 2..]].concat();
            assert_eq!(found.index.dims(), batch_of_index);
            assert_eq!(floats(&rows.index)?, floats(&found.index)?);
            assert_eq!(found.output.dims(), batch);
            let back = found
                .output
                .transpose(rank - 3, rank - 2)?
                .transpose(rank - 2, rank - 1)?;
            assert_eq!(floats(&back)?, floats(&rows.output)?);
            assert_eq!(floats(&b.decode(&found.index)?)?, floats(&found.output)?);
            assert_eq!(floats(&a.decode(&rows.index)?)?, floats(&rows.output)?);
            let upstream = rng.normal(batch, dtype, CPU)?;
            let gradients = (&found.output * &upstream)?.sum_all()?.backward()?;
            assert_eq!(floats(gradients.get(&z).unwrap())?, floats(&upstream)?);
        }
    }
    Ok(())
}

/// The least squared distance over codes, summed over rows.
fn distortion(rows: &Tensor, codes: &Tensor) -> Result<f64> {
    let gaps = rows.unsqueeze(1)?.broadcast_sub(&codes.unsqueeze(0)?)?;
    let nearest = gaps.sqr()?.sum(2)?.min(1)?;
    Ok(nearest.sum_all()?.to_scalar()?)
}

/// 20 clusters, 20 codes: k-means loses a fraction of what codes lose that are random rows. It happens once.
#[test]
fn data_initialize_the_codes() -> Result<()> {
    let mut rng = Rng::new(6);
    let centres = (rng.normal((20, 1, 3), DType::F64, CPU)? * 10.)?;
    let noise = rng.normal((20, 30, 3), DType::F64, CPU)?;
    let rows = noise.broadcast_add(&centres)?.reshape((600, 3))?;
    for codebook in [LEARNED, AVERAGED, SMOOTHED] {
        let (quantizer, vars) = made(&config(20, 3, codebook), DType::F64)?;
        let before = distortion(&rows, &quantizer.codebook()?)?;
        assert!(quantizer.initialize(&rows, &mut Rng::new(7))?);
        let after = distortion(&rows, &quantizer.codebook()?)?;
        let chosen: Vec<u32> = rng.permutation(600)[..20]
            .iter()
            .map(|i| *i as u32)
            .collect();
        let random = distortion(&rows, &rows.index_select(&Tensor::new(chosen, CPU)?, 0)?)?;
        // Within clusters there are 600 x 3, in expectation.
        assert!(
            after < 0.4 * random && after < before,
            "{before} {random} {after}"
        );
        assert!(after < 2. * 1800., "{after}");
        assert_eq!(quantizer.counts()?.sum_all()?.to_scalar::<f64>()?, 600.);
        let state = bits(&vars)?;
        assert!(!quantizer.initialize(&rows, &mut Rng::new(8))?);
        assert_eq!(bits(&vars)?, state);
        // The same seed, the same codes; a training pass on the same rows is a step of Lloyd's and loses no more.
        let (again, others) = made(&config(20, 3, codebook), DType::F64)?;
        again.initialize(&rows, &mut Rng::new(7))?;
        assert_eq!(bits(&others)?, state);
        quantizer.quantize_t(&rows, true)?;
        assert!(distortion(&rows, &quantizer.codebook()?)? < after * (1. + 1e-6));
    }
    // Fewer different rows than codes.
    let (quantizer, _) = made(&config(4, 2, AVERAGED), DType::F64)?;
    let same = Tensor::ones((9, 2), DType::F64, CPU)?;
    assert!(quantizer.initialize(&same, &mut Rng::new(1))?);
    assert_eq!(floats(&quantizer.codebook()?)?, [1.; 8]);
    quantizer.quantize_t(&same, true)?;
    assert_eq!(floats(&quantizer.codebook()?)?, [1.; 8]);
    Ok(())
}

/// So many codes that the search does not look at all of them.
#[test]
fn the_code_is_the_nearest_of_many() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let (quantizer, _) = made(&config(128, 16, LEARNED), dtype)?;
        let rows = (Rng::new(12).uniform((300, 16), dtype, CPU)? / 64.)?;
        let found = quantizer.quantize(&rows)?;
        let [codes, rows] = [quantizer.codebook()?, rows].map(|x| floats(&x));
        let (codes, rows) = (codes?, rows?);
        for (row, got) in rows.chunks(16).zip(found.index.to_vec1::<u32>()?) {
            let square = |k: usize| -> f64 {
                let gaps = row.iter().zip(&codes[16 * k..]);
                gaps.map(|(x, e)| (x - e) * (x - e)).sum()
            };
            let want = (0..128).min_by(|a, b| square(*a).total_cmp(&square(*b)));
            assert_eq!(Some(got as usize), want);
        }
    }
    Ok(())
}

/// A smoothed code is not its sum by its count, and must not be made so.
#[test]
fn reviving_leaves_the_living_as_they_are() -> Result<()> {
    for codebook in [
        LEARNED,
        AVERAGED,
        Codebook::MovingAverage { smoothing: 0.3 },
    ] {
        let (quantizer, vars) = made(&config(6, 2, codebook), DType::F32)?;
        let rows = Rng::new(13).normal((40, 2), DType::F32, CPU)?;
        quantizer.initialize(&rows, &mut Rng::new(1))?;
        let some = rows.narrow(0, 0, 3)?;
        for _ in 0..60 {
            quantizer.quantize_t(&some, true)?;
        }
        let (before, counts) = (bits(&vars)?, floats(&quantizer.counts()?)?);
        let living: Vec<usize> = (0..6).filter(|k| counts[*k] >= 0.5).collect();
        let revived = quantizer.revive(&rows, 0.5, &mut Rng::new(2))?;
        assert!(revived > 0 && !living.is_empty());
        assert_eq!(revived + living.len(), 6);
        for (name, after) in bits(&vars)? {
            let width = after.len() / 6;
            for k in 0..if name == "initialized" { 0 } else { 6 } {
                let row = k * width..(k + 1) * width;
                let stays = after[row.clone()] == before[&name][row];
                assert_eq!(stays, living.contains(&k), "{name} {k}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_nothing_chooses_is_revived() -> Result<()> {
    for codebook in [LEARNED, AVERAGED, SMOOTHED] {
        let (quantizer, vars) = made(&config(6, 2, codebook), DType::F64)?;
        let codes: Vec<f64> = vec![0., 0., 1., 1., 50., 50., 60., 60., 70., 70., 80., 80.];
        let codes = Tensor::from_vec(codes, (6, 2), CPU)?;
        set(&vars, "codebook", &codes)?;
        if codebook != LEARNED {
            set(&vars, "sums", &codes)?;
        }
        let rows = Rng::new(9).uniform((40, 2), DType::F64, CPU)?;
        assert_eq!(quantizer.revive(&rows, 0.5, &mut Rng::new(1))?, 0);
        for _ in 0..20 {
            quantizer.quantize_t(&rows, true)?;
        }
        assert_eq!(
            quantizer.quantize(&rows)?.usage()?.to_vec1::<f64>()?[2..],
            [0.; 4]
        );
        let kept = quantizer.codebook()?.to_vec2::<f64>()?;
        assert_eq!(quantizer.revive(&rows, 0.5, &mut Rng::new(1))?, 4);
        let (codes, all) = (
            quantizer.codebook()?.to_vec2::<f64>()?,
            rows.to_vec2::<f64>()?,
        );
        assert_eq!(codes[..2], kept[..2]);
        let places: Vec<usize> = codes[2..]
            .iter()
            .map(|code| all.iter().position(|row| row == code).unwrap())
            .collect();
        let mut different = places.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 4);
        assert_eq!(quantizer.counts()?.to_vec1::<f64>()?[2..], [0.5; 4]);
        assert!(quantizer.quantize_t(&rows, true)?.perplexity()? > 3.);
        // Sums belong to the codes: without a smoothing a pass moves the code of one row no further than that row.
        let after = quantizer.codebook()?.to_vec2::<f64>()?;
        assert!(
            after.concat().iter().all(|x| (0. ..=1.).contains(x)),
            "{codebook:?} {after:?}"
        );
        // Two rows revive two codes.
        for _ in 0..200 {
            quantizer.quantize_t(&rows.narrow(0, 0, 1)?, true)?;
        }
        let two = rows.narrow(0, 0, 2)?;
        assert_eq!(quantizer.revive(&two, 0.5, &mut Rng::new(1))?, 2);
    }
    Ok(())
}

#[test]
fn perplexity_counts_codes_in_use() -> Result<()> {
    let (quantizer, vars) = made(&config(5, 1, LEARNED), DType::F32)?;
    let codes = Tensor::new(&[[0f32], [1.], [2.], [3.], [4.]], CPU)?;
    set(&vars, "codebook", &codes)?;
    let uniform = quantizer.quantize(&codes.repeat((3, 1))?)?;
    assert!((uniform.perplexity()? - 5.).abs() < 1e-12);
    assert_eq!(uniform.usage()?.to_vec1::<f64>()?, [3.; 5]);
    let one = quantizer.quantize(&codes.narrow(0, 2, 1)?.repeat((9, 1))?)?;
    assert_eq!(one.perplexity()?, 1.);
    let none = quantizer.quantize(&codes.narrow(0, 0, 0)?)?;
    assert!(matches!(none.perplexity(), Err(Error::Shape { .. })));
    // Of equally near codes the first.
    let between = Tensor::new(&[[0.5f32], [2.5], [9.]], CPU)?;
    assert_eq!(
        quantizer.quantize(&between)?.index.to_vec1::<u32>()?,
        [0, 2, 4]
    );
    Ok(())
}

#[test]
fn state_is_written_in_training_alone() -> Result<()> {
    for codebook in [LEARNED, AVERAGED, SMOOTHED] {
        let (quantizer, vars) = made(&config(8, 2, codebook), DType::F64)?;
        let z = Rng::new(10).normal((30, 2), DType::F64, CPU)?;
        let before = bits(&vars)?;
        let found = quantizer.quantize(&z)?;
        quantizer.decode(&found.index)?;
        let y = quantizer.forward_t(&z, false)?;
        assert_eq!(floats(&y)?, floats(&found.output)?);
        // Nor by a batch without rows, or one that is refused.
        quantizer.forward_t(&z.narrow(0, 0, 0)?, true)?;
        let mut odd = z.to_vec2::<f64>()?;
        odd[3][1] = f64::NAN;
        let odd = Tensor::new(odd, CPU)?;
        for train in [false, true] {
            assert!(matches!(
                quantizer.quantize_t(&odd, train),
                Err(Error::Value { .. })
            ));
        }
        assert!(quantizer.initialize(&odd, &mut Rng::new(0)).is_err());
        assert!(quantizer.revive(&odd, 2., &mut Rng::new(0)).is_err());
        assert_eq!(bits(&vars)?, before);
        quantizer.forward_t(&z, true)?;
        for (name, after) in bits(&vars)? {
            let moves = name == "counts" || codebook != LEARNED && name != "initialized";
            assert_eq!(after != before[&name], moves, "{name}");
        }
    }
    Ok(())
}

/// Optimizers leave buffers and move a learned codebook; a file holds all of it, and what was initialized stays so.
#[test]
fn a_file_restores_the_state() -> Result<()> {
    for codebook in [LEARNED, AVERAGED, SMOOTHED] {
        let (quantizer, vars) = made(&config(8, 2, codebook), DType::F64)?;
        let z = Rng::new(11).normal((30, 2), DType::F64, CPU)?;
        quantizer.initialize(&z, &mut Rng::new(0))?;
        let adam = AdamConfig {
            weight_decay: 0.1,
            ..Default::default()
        };
        let mut adam = Adam::new(&vars, &adam)?;
        let found = quantizer.quantize_t(&(&z + 0.1)?, true)?;
        let before = bits(&vars)?;
        let rows = Var::from_tensor(&found.rows)?;
        adam.backward_step(&vq(&rows, &found.codes, 1.)?.total.mean_all()?)?;
        for (name, after) in bits(&vars)? {
            let moves = codebook == LEARNED && name == "codebook";
            assert_eq!(after != before[&name], moves, "{name}");
        }
        let path = std::env::temp_dir().join(format!("quantizer-{}", std::process::id()));
        Checkpoint::new().vars("quantizer", &vars).save(&path)?;
        let (other, others) = made(&config(8, 2, codebook), DType::F64)?;
        assert_ne!(bits(&others)?, bits(&vars)?);
        Checkpoint::new().vars("quantizer", &others).load(&path)?;
        std::fs::remove_file(&path).ok();
        assert_eq!(bits(&others)?, bits(&vars)?);
        assert!(!other.initialize(&z, &mut Rng::new(1))?);
        // Another quantizer on the same map takes what is there, sums too.
        let again = vector_quantizer(
            &config(8, 2, codebook),
            init::seeded(&vars, 2, DType::F64, CPU),
        )?;
        assert_eq!(floats(&again.codebook()?)?, floats(&other.codebook()?)?);
        assert_eq!(bits(&others)?, bits(&vars)?);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let good = config(4, 3, SMOOTHED);
    for bad in [
        VectorQuantizerConfig { codes: 0, ..good },
        VectorQuantizerConfig { codes: 1, ..good },
        VectorQuantizerConfig { dims: 0, ..good },
        VectorQuantizerConfig { decay: 1., ..good },
        VectorQuantizerConfig {
            decay: f64::NAN,
            ..good
        },
        config(4, 3, Codebook::MovingAverage { smoothing: -1. }),
    ] {
        assert!(
            matches!(made(&bad, DType::F32), Err(Error::Value { .. })),
            "{bad:?}"
        );
    }
    for half in [DType::F16, DType::BF16] {
        assert!(matches!(made(&good, half), Err(Error::DType { .. })));
    }
    let images = VectorQuantizerConfig {
        axis: Axis::Channel,
        ..good
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, CPU);
    let mut rng = Rng::new(0);
    for (config, bad) in [
        (good, &[2, 4][..]),
        (good, &[]),
        (images, &[3, 2]),
        (images, &[1, 2, 3, 3]),
    ] {
        let (quantizer, _) = made(&config, DType::F32)?;
        let z = zeros(bad)?;
        assert!(
            matches!(quantizer.quantize(&z), Err(Error::Shape { .. })),
            "{bad:?}"
        );
        assert!(quantizer.initialize(&z, &mut rng).is_err());
        assert!(quantizer.revive(&z, 1., &mut rng).is_err());
    }
    let (quantizer, vars) = made(&good, DType::F32)?;
    let z = zeros(&[5, 3])?;
    assert!(matches!(
        quantizer.quantize(&z.to_dtype(DType::F64)?),
        Err(Error::DType { .. })
    ));
    assert!(quantizer.initialize(&z.narrow(0, 0, 3)?, &mut rng).is_err());
    for threshold in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(quantizer.revive(&z, threshold, &mut rng).is_err());
    }
    assert!(quantizer.decode(&Tensor::new(&[0u32, 4], CPU)?).is_err());
    assert!(quantizer.decode(&Tensor::new(&[0i64], CPU)?).is_err());
    assert!(
        made(&images, DType::F32)?
            .0
            .decode(&Tensor::new(&[0u32], CPU)?)
            .is_err()
    );
    // On constants there is evaluation only.
    let tensors = named_vars(&vars)?.into_iter();
    let tensors = tensors
        .map(|(name, var)| (name, var.as_detached_tensor()))
        .collect();
    let constant = vector_quantizer(&good, VarBuilder::from_tensors(tensors, DType::F32, CPU))?;
    constant.quantize(&z)?;
    assert!(matches!(
        constant.quantize_t(&z, true),
        Err(Error::Value { .. })
    ));
    assert!(constant.initialize(&z, &mut rng).is_err());
    Ok(())
}

/// In both layouts, with gradients.
#[test]
fn batches_may_be_empty() -> Result<()> {
    for (axis, dims, index) in [
        (Axis::Feature, &[0, 3][..], &[0][..]),
        (Axis::Feature, &[2, 0, 3], &[2, 0]),
        (Axis::Channel, &[0, 3, 2, 2], &[0, 2, 2]),
    ] {
        for codebook in [LEARNED, SMOOTHED] {
            let config = VectorQuantizerConfig {
                axis,
                ..config(4, 3, codebook)
            };
            let (quantizer, _) = made(&config, DType::F32)?;
            let z = Var::zeros(dims, DType::F32, CPU)?;
            let found = quantizer.quantize_t(&z, true)?;
            assert_eq!(found.index.dims(), index);
            assert_eq!(found.output.dims(), dims);
            assert_eq!(quantizer.decode(&found.index)?.dims(), dims);
            let parts = vq(&found.rows, &found.codes, 1.)?;
            let loss = (parts.total.sum_all()? + found.output.sum_all()?)?;
            assert_eq!(loss.to_scalar::<f32>()?, 0.);
            let gradients = loss.backward()?;
            assert!(gradients.get(&z).is_none_or(|g| g.dims() == dims));
        }
    }
    Ok(())
}

//! Layers of flows against reference values.

use crate::support::golden;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarMap;
use candle_nn::ops::sigmoid;
use candle_prob::bijector::*;
use candle_prob::distribution::{Distribution, Normal};
use candle_prob::flow::*;
use candle_prob::{Result, init};
use serde_json::Value;

const CPU: Device = Device::Cpu;

/// One case in one dtype.
struct Case<'a> {
    case: &'a Value,
    dtype: DType,
    tolerance: f64,
}

impl Case<'_> {
    fn text(&self, name: &str) -> &str {
        self.case[name].as_str().unwrap()
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        tensor(&self.case[name], self.dtype)
    }

    fn close(&self, what: &str, got: &Tensor, want: &Value) -> Result<()> {
        let what = format!("{} {what}", self.text("kind"));
        let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let want = golden::list(want);
        assert_eq!(got.len(), want.len(), "{what}");
        for (got, want) in got.into_iter().zip(want) {
            golden::check(&what, got, want.unwrap(), 0., self.dtype, self.tolerance);
        }
        Ok(())
    }

    /// From x to y, with the log-det, and back.
    fn both(&self, f: &dyn Bijector, names: [&str; 2]) -> Result<()> {
        let (y, there) = f.transform_and_log_det(&self.tensor(names[0])?)?;
        self.close("y", &y, &self.case[names[1]])?;
        let (x, back) = f.inverse_and_log_det(&self.tensor(names[1])?)?;
        self.close("x", &x, &self.case[names[0]])?;
        let log_det = &self.case["logdet"];
        if log_det.is_null() {
            // A map that keeps volumes.
            assert!(
                there
                    .to_dtype(DType::F64)?
                    .abs()?
                    .sum_all()?
                    .to_scalar::<f64>()?
                    == 0.
            );
            return Ok(());
        }
        self.close("log-det", &there, log_det)?;
        self.close("inverse log-det", &back.neg()?, log_det)
    }
}

fn tensor(v: &Value, dtype: DType) -> Result<Tensor> {
    let data: Vec<f64> = match v.as_f64() {
        Some(x) => return Ok(Tensor::new(x, &CPU)?.to_dtype(dtype)?),
        None => golden::list(v).into_iter().map(Option::unwrap).collect(),
    };
    let shape: Vec<usize> = match v["shape"].as_array() {
        Some(shape) => shape.iter().map(|d| d.as_u64().unwrap() as usize).collect(),
        None => vec![data.len()],
    };
    Ok(Tensor::from_vec(data, shape, &CPU)?.to_dtype(dtype)?)
}

/// `W2 tanh(W1 a + b1) + b2`, the second half of it the shift, the first what `scale` makes of it.
fn coupling(
    v: &Value,
    dtype: DType,
    columns: &[usize],
    size: usize,
    scale: &str,
) -> Result<Coupling<impl Fn(&Tensor) -> Result<Affine> + use<>>> {
    let names = ["w1", "b1", "w2", "b2"];
    let weights = names.map(|name| tensor(&v[name], dtype).unwrap());
    let scale = scale.to_string();
    let split = Split::by(size, |i| columns.contains(&i))?;
    Ok(Coupling::new(split, move |a: &Tensor| {
        let hidden = a
            .matmul(&weights[0].t()?)?
            .broadcast_add(&weights[1])?
            .tanh()?;
        let out = hidden
            .matmul(&weights[2].t()?)?
            .broadcast_add(&weights[3])?;
        if scale == "none" {
            return Affine::new(&out, &out.ones_like()?);
        }
        let parts = out.chunk(2, D::Minus1)?;
        match scale.as_str() {
            "exp" => Affine::soft_clamped(&parts[1], &parts[0], f64::INFINITY),
            "exp_tanh" => Affine::soft_clamped(&parts[1], &parts[0], 1.),
            _ => Affine::new(&parts[1], &sigmoid(&(&parts[0] + 2.)?)?),
        }
    }))
}

/// The shapes of latents, foretold and found.
fn walk_scales(walk: &Value, dtype: DType) -> Result<()> {
    let shape = |v: &Value| -> [usize; 3] {
        let dims = v.as_array().unwrap().iter();
        let dims: Vec<usize> = dims.map(|d| d.as_u64().unwrap() as usize).collect();
        dims.try_into().unwrap()
    };
    let image = shape(&walk["input"]);
    let scales = walk["levels"].as_u64().unwrap() as usize;
    let vb = init::seeded(&VarMap::new(), 1, dtype, &CPU);
    let flow = match walk["style"].as_str().unwrap() {
        "realnvp" => real_nvp_image(
            &RealNvpImageConfig {
                image,
                scales,
                channels: 2,
                blocks: 0,
                ..Default::default()
            },
            vb,
        )?,
        _ => glow(
            &GlowConfig {
                image,
                levels: scales,
                steps: 1,
                channels: 2,
                ..Default::default()
            },
            vb,
        )?,
    };
    let want: Vec<[usize; 3]> = walk["z_shapes"]
        .as_array()
        .unwrap()
        .iter()
        .map(shape)
        .collect();
    assert_eq!(flow.latent_shapes(), want);
    let x = candle_prob::Rng::new(0).normal(image.as_slice(), dtype, &CPU)?;
    let latents = flow.latents(&flow.inverse(&x)?)?;
    assert!(latents.iter().map(Tensor::dims).eq(want.iter()));
    Ok(())
}

fn check(case: &Case) -> Result<()> {
    let t = |name: &str| case.tensor(name);
    match case.text("kind") {
        "coupling_additive_vector" | "coupling_affine_vector" => {
            let columns = case.case["identity_columns"].as_array().unwrap().iter();
            let columns: Vec<usize> = columns.map(|i| i.as_u64().unwrap() as usize).collect();
            let f = coupling(case.case, case.dtype, &columns, 5, case.text("scale"))?;
            case.both(&f, ["x", "y"])
        }
        kind @ ("coupling_additive_image" | "coupling_affine_image") => {
            let weights = ["conv1", "bias1", "conv2", "bias2"].map(|name| t(name).unwrap());
            let conditioner = |a: &Tensor| {
                let conv = |x: &Tensor, i: usize| -> Result<Tensor> {
                    let bias = weights[i + 1].reshape((1, (), 1, 1))?;
                    Ok(x.conv2d(&weights[i], 1, 1, 1, 1)?.broadcast_add(&bias)?)
                };
                let out = conv(&conv(a, 0)?.tanh()?, 2)?;
                if kind == "coupling_additive_image" {
                    return Affine::new(&out, &out.ones_like()?);
                }
                let parts = out.chunk(2, 1)?;
                Affine::soft_clamped(&parts[1], &parts[0], 1.)
            };
            let mask = t("mask")?.to_dtype(DType::U8)?;
            case.both(&Coupling::new(Split::mask(&mask)?, conditioner), ["x", "y"])?;
            let split = match case.text("mask_kind") {
                "checkerboard" => Split::checkerboard(4, 4, false)?,
                "checkerboard_inverted" => Split::checkerboard(4, 4, true)?,
                _ => return Ok(()),
            };
            case.both(&Coupling::new(split, conditioner), ["x", "y"])
        }
        "squeeze" => case.both(&Squeeze, ["x", "y"]),
        "invertible_1x1_conv" => {
            let lu = Lu::decompose(&t("weight")?)?;
            case.close(
                "inverse",
                &lu.inverse_matrix()?,
                &case.case["weight_inverse"],
            )?;
            case.both(&Conv1x1::new(&lu), ["x", "y"])
        }
        "invertible_1x1_conv_plu" => {
            let signs = golden::list(&case.case["sign"]).into_iter().flatten();
            let signs: Vec<f64> = signs.collect();
            let rows = t("P")?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
            let order = rows
                .iter()
                .map(|row| row.iter().position(|x| *x == 1.).unwrap());
            let order = Permutation::new(&order.collect::<Vec<_>>())?;
            let lu = Lu::new(&order, &signs, &t("L")?, &t("U")?, &t("log_s")?)?;
            case.close("matrix", &lu.matrix()?, &case.case["weight"])?;
            case.both(&Conv1x1::new(&lu), ["x", "y"])
        }
        "actnorm" => {
            let norm = ActNorm::new(&t("bias")?, &t("log_scale")?, Axis::Channel)?;
            case.both(&norm, ["x", "y"])
        }
        // The reference leads from data to latents.
        "actnorm_init" => {
            let norm = ActNorm::from_data(&t("x")?, Axis::Channel)?;
            case.close("mean", norm.loc(), &case.case["mean"])?;
            case.close(
                "log-scale",
                &norm.log_scale().neg()?,
                &case.case["log_scale"],
            )?;
            case.both(&norm.inverted(), ["x", "y"])
        }
        kind @ ("batchnorm_flow" | "batchnorm_flow_batch_statistics") => {
            let epsilon = case.case["eps"].as_f64().unwrap();
            let norm = if kind == "batchnorm_flow" {
                FlowBatchNorm::new(&t("mean")?, &t("var")?, epsilon, Axis::Feature)?
            } else {
                let start = t("batch_mean")?.zeros_like()?;
                let start = FlowBatchNorm::new(&start, &start, epsilon, Axis::Feature)?;
                let norm = start.observe(&t("x")?, 0.)?;
                case.close("mean", norm.mean(), &case.case["batch_mean"])?;
                case.close("variance", norm.variance(), &case.case["batch_var"])?;
                norm
            };
            // The paper's layer has no affine map of its own.
            let after = ActNorm::new(&t("beta")?, &t("log_gamma")?, Axis::Feature)?;
            case.both(&Chain::new(norm.inverted(), after), ["x", "y"])
        }
        "planar" => {
            let planar = Planar::new(&t("w")?, &t("u")?, &t("b")?)?;
            case.close("u'", planar.pushed(), &case.case["u_hat"])?;
            case.both(&planar, ["z", "y"])
        }
        "radial" => {
            let radial = Radial::new(&t("z0")?, &t("alpha_raw")?, &t("beta_raw")?)?;
            case.both(&radial, ["z", "y"])
        }
        "composed_realnvp" => {
            let mut members: Vec<Box<dyn Bijector + Send + Sync>> = vec![];
            for layer in case.case["layers"].as_array().unwrap() {
                let layer = coupling(layer, case.dtype, &[0, 1], 4, "exp_tanh")?;
                members.push(Box::new(layer));
                members.push(Box::new(Permutation::reverse(4)?));
            }
            let flow = Sequence::new(members);
            case.both(&flow, ["x", "z"])?;
            let zero = Tensor::zeros(4, case.dtype, &CPU)?;
            let base = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
            let density = base.transformed_by(flow.inverted())?.log_prob(&t("x")?)?;
            case.close("log-density", &density, &case.case["log_prob"])
        }
        "logit_preprocessing" => {
            let alpha = case.case["alpha"].as_f64().unwrap();
            let logit = LogitPreprocessing::new(alpha)?;
            let (y, log_det) = logit.inverse_and_log_det(&t("x")?)?;
            case.close("y", &y, &case.case["y"])?;
            case.close("log-det", &log_det, &case.case["logdet_terms"])?;
            let (x, back) = logit.transform_and_log_det(&t("y")?)?;
            case.close("x", &x, &case.case["x"])?;
            case.close("inverse log-det", &back.neg()?, &case.case["logdet_terms"])?;
            let example = &case.case["example"];
            let log_prob = tensor(&example["log_likelihood"], case.dtype)?;
            let pixels = example["pixels"].as_u64().unwrap() as usize;
            let bits = bits_per_dim(&log_prob.reshape(1)?, pixels, 256)?;
            let want = serde_json::json!([example["bits_per_dim"]]);
            case.close("bits per dim", &bits, &want)
        }
        "multiscale_shape_walk" => {
            for walk in case.case["walks"].as_array().unwrap() {
                walk_scales(walk, case.dtype)?;
            }
            Ok(())
        }
        kind => panic!("nothing checks {kind}"),
    }
}

#[test]
fn layers_meet_reference_values() -> Result<()> {
    let file = golden::file(include_str!("../golden/flows.json"));
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 33);
    for (dtype, name) in [(DType::F64, "f64"), (DType::F32, "f32")] {
        let tolerance = file["tolerance"][name].as_f64().unwrap();
        for case in cases {
            check(&Case {
                case,
                dtype,
                tolerance,
            })?;
        }
    }
    Ok(())
}

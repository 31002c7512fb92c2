//! What is not in the loss has no gradient: a row whose upstream gradient is 0 gives nothing to its own parameters and
//! value, and does not spoil those it shares, whatever its value is: NaN, infinite, outside of the support, or one whose
//! square overflows.

use crate::support::any::Any;
use crate::support::families::{Domain, Family, four, numbers, p, three, two, v, vectors};
use crate::support::floats;
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::bijector::*;
use candle_prob::distribution::*;
use candle_prob::flow::*;
use candle_prob::{Activation, Result, Rng, init, net, special};

const CPU: &Device = &Device::Cpu;

/// The same three components for each element of the batch.
fn thrice(p: &[Tensor]) -> Result<Vec<Tensor>> {
    let last = p[0].rank();
    let shape = [p[0].dims(), &[3]].concat();
    p.iter()
        .map(|p| Ok(p.unsqueeze(last)?.broadcast_as(shape.as_slice())?))
        .collect()
}

fn mixing(p: &[Tensor]) -> Result<Categorical> {
    let logits = Tensor::new(&[0.2, -0.4, 0.1], CPU)?.to_dtype(p[0].dtype())?;
    Categorical::new(&logits.broadcast_as([p[0].dims(), &[3]].concat())?)
}

fn mixture(row: &Family, p: &[Tensor]) -> Result<MixtureSameFamily<Any>> {
    MixtureSameFamily::new(mixing(p)?, row.build(&thrice(p)?)?)
}

fn transformed<B: Bijector>(row: &Family, p: &[Tensor], by: B) -> Result<Transformed<Any, B>> {
    row.build(p)?.transformed_by(by)
}

type Make<T> = fn(&Family, &[Tensor]) -> Result<Box<T>>;
type Makes<T> = Vec<(&'static str, Make<T>)>;

/// A family of numbers alone and in each combinator.
fn densities(row: &Family) -> Result<Makes<dyn Distribution>> {
    let mut all: Makes<dyn Distribution> = vec![
        ("alone", |row, p| Ok(Box::new(row.build(p)?))),
        ("Independent", |row, p| {
            let p = p.iter().map(|p| p.unsqueeze(p.rank()));
            let p = p.collect::<candle_core::Result<Vec<_>>>()?;
            Ok(Box::new(row.build(&p)?.to_event(1)?))
        }),
        ("Expanded", |row, p| {
            Ok(Box::new(Expanded::new(row.build(p)?, p[0].dims())?))
        }),
    ];
    if row.example()?.component.is_some() {
        all.push(("MixtureSameFamily", |row, p| Ok(Box::new(mixture(row, p)?))));
    }
    if row.support.is_none() {
        let line: [(_, Make<dyn Distribution>); 5] = [
            ("Transformed by Exp", |row, p| {
                Ok(Box::new(transformed(row, p, Exp)?))
            }),
            ("Transformed by Sigmoid", |row, p| {
                Ok(Box::new(transformed(row, p, Sigmoid)?))
            }),
            ("Transformed by Softplus", |row, p| {
                Ok(Box::new(transformed(row, p, Softplus)?))
            }),
            ("Transformed by Tanh", |row, p| {
                Ok(Box::new(transformed(row, p, Tanh)?))
            }),
            ("Transformed by Affine", |row, p| {
                let affine = Affine::soft_clamped(&p[0], &p[1], 2.)?;
                Ok(Box::new(transformed(row, p, affine)?))
            }),
        ];
        all.extend(line);
    }
    Ok(all)
}

fn tails(row: &Family) -> Result<Makes<dyn Cdf>> {
    let mut all: Makes<dyn Cdf> = vec![];
    if row.example()?.tails.is_some() {
        all.push(("alone", |row, p| Ok(Box::new(row.build(p)?))));
    }
    if row.support.is_none() {
        let line: [(_, Make<dyn Cdf>); 5] = [
            ("Transformed by Exp", |row, p| {
                Ok(Box::new(transformed(row, p, Exp)?))
            }),
            ("Transformed by Sigmoid", |row, p| {
                Ok(Box::new(transformed(row, p, Sigmoid)?))
            }),
            ("Transformed by Softplus", |row, p| {
                Ok(Box::new(transformed(row, p, Softplus)?))
            }),
            ("Transformed by Tanh", |row, p| {
                Ok(Box::new(transformed(row, p, Tanh)?))
            }),
            ("MixtureSameFamily", |row, p| Ok(Box::new(mixture(row, p)?))),
        ];
        all.extend(line);
    }
    Ok(all)
}

/// Gradients of the sum of the rows from the second on, by parameters and value, `None` as 0. Rows are the first dim.
fn gradients(
    parameters: &[Tensor],
    value: &Tensor,
    f: &dyn Fn(&[Tensor], &Tensor) -> Result<Tensor>,
    from: usize,
) -> Result<Vec<Vec<f64>>> {
    let leaf = |x: &Tensor| Var::from_tensor(&x.contiguous()?);
    let leaves: Vec<Var> = parameters
        .iter()
        .chain([value])
        .map(leaf)
        .collect::<candle_core::Result<_>>()?;
    let inputs: Vec<Tensor> = leaves.iter().map(|v| v.as_tensor().clone()).collect();
    let (x, p) = inputs.split_last().expect("a value");
    let y = f(p, x)?;
    let store = y.narrow(0, from, y.dim(0)? - from)?.sum_all()?.backward()?;
    let of = |leaf: &Var| match store.get(leaf) {
        Some(gradient) => floats(gradient),
        None => Ok(vec![0.; leaf.elem_count()]),
    };
    leaves.iter().map(of).collect()
}

/// (how far apart relative to 1, what) of values that are not near.
fn compare(got: &[f64], want: &[f64], dtype: DType) -> Option<String> {
    let tolerance = match dtype {
        DType::F64 => 1e-10,
        DType::F32 => 2e-4,
        _ => 0.06,
    };
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs().max(1.);
    let all = got.len() == want.len() && got.iter().zip(want).all(near);
    (!all).then(|| {
        let short = |x: &[f64]| format!("{:?}", &x[..x.len().min(4)]);
        format!("{} for {}", short(got), short(want))
    })
}

const BAD: [f64; 12] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.,
    -0.,
    0.,
    1.,
    2.5,
    3e38,
    -3e38,
    1e300,
    -1e-40,
];

/// A bad row before `rows` good ones, with shared parameters and with parameters of their own.
fn sweep(
    name: &str,
    parameters: &[Tensor],
    [bad, good]: [&Tensor; 2],
    rows: usize,
    own: bool,
    f: &dyn Fn(&[Tensor], &Tensor) -> Result<Tensor>,
    faults: &mut Vec<String>,
) -> Result<()> {
    let dtype = good.dtype();
    let good = Tensor::stack(&vec![good; rows], 0)?;
    let all = Tensor::cat(&[&bad.unsqueeze(0)?, &good], 0)?;
    let mut fault = |what: String| faults.push(format!("{name} {dtype:?} {rows}: {what}"));
    let shared = gradients(parameters, &all, f, 1)?;
    let want = gradients(parameters, &good, f, 0)?;
    let (value, slopes) = shared.split_last().expect("a value");
    let (want_value, want_slopes) = want.split_last().expect("a value");
    let size = value.len() - want_value.len();
    for (k, (got, want)) in slopes.iter().zip(want_slopes).enumerate() {
        if let Some(what) = compare(got, want, dtype) {
            fault(format!("shared parameter {k}: {what}"));
        }
    }
    let all_value = [vec![0.; size], want_value.clone()].concat();
    if let Some(what) = compare(value, &all_value, dtype) {
        fault(format!("value: {what}"));
    }
    if !own {
        return Ok(());
    }
    let own: Vec<Tensor> = parameters
        .iter()
        .map(|p| Tensor::stack(&vec![p; rows + 1], 0))
        .collect::<candle_core::Result<_>>()?;
    for (k, got) in gradients(&own, &all, f, 1)?.iter().enumerate() {
        let first = &got[..got.len() / (rows + 1)];
        if first.iter().any(|g| *g != 0.) {
            fault(format!("own parameter or value {k}: {first:?} for 0"));
        }
        if got.iter().any(|g| !g.is_finite()) {
            fault(format!("own parameter or value {k} is not finite"));
        }
    }
    Ok(())
}

fn report(faults: Vec<String>) {
    let count = faults.len();
    let shown = faults
        .iter()
        .take(60)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(count == 0, "{count} faults\n{shown}");
}

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

#[test]
fn of_numbers() -> Result<()> {
    let truncated = four(
        "Truncated",
        &[|a, b, c, d| Truncated::new(Normal::new(a, b)?, c, d)],
        |of| of.tails(),
    )
    .of([0.5, 1.25, -1., 2.].map(|x| p("", Domain::Real, x)))
    .within(|_, _| true);
    let mut faults = vec![];
    for row in numbers().into_iter().chain([truncated]) {
        let (densities, tails) = (densities(&row)?, tails(&row)?);
        for dtype in DTYPES {
            let tensor = |x: f64| Tensor::new(x, CPU)?.to_dtype(dtype);
            let parameters = row.ordinary(&[], dtype)?;
            for bad in BAD {
                let bad = tensor(bad)?;
                let at = floats(&bad)?[0];
                for (combinator, make) in &densities {
                    let inner = usize::from(*combinator == "Independent");
                    let good = match *combinator {
                        "Transformed by Tanh" => 0.25,
                        _ => row.value[0],
                    };
                    // An event dim of one where there is one.
                    let event = |x: &Tensor| match inner {
                        0 => Ok(x.clone()),
                        _ => x.unsqueeze(0),
                    };
                    let name = format!("{} {combinator} log_prob at {at}", row.name);
                    let pair = [&event(&bad)?, &event(&tensor(good)?)?];
                    let f = |p: &[Tensor], x: &Tensor| make(&row, p)?.log_prob(x);
                    let sizes: &[usize] = if dtype == DType::F32 { &[1, 300] } else { &[1] };
                    for rows in sizes {
                        sweep(&name, &parameters, pair, *rows, true, &f, &mut faults)?;
                    }
                }
                for (combinator, make) in &tails {
                    let pair = [&bad, &tensor(row.value[0])?];
                    for (what, upper) in [("log_cdf", false), ("log_survival", true)] {
                        let name = format!("{} {combinator} {what} at {at}", row.name);
                        let f = |p: &[Tensor], x: &Tensor| match upper {
                            false => make(&row, p)?.log_cdf(x),
                            true => make(&row, p)?.log_survival(x),
                        };
                        sweep(&name, &parameters, pair, 1, true, &f, &mut faults)?;
                    }
                }
            }
        }
    }
    report(faults);
    Ok(())
}

/// Vectors of two elements that are made from others.
fn combined_vectors() -> Vec<Family> {
    fn base(like: &Tensor) -> Result<Independent<Normal>> {
        let zero = like.zeros_like()?.detach();
        Normal::new(&zero, &zero.ones_like()?)?.to_event(1)
    }
    let loc = || v("", Domain::Real, &[2], [0.5, -0.5]);
    let number = |x| p("", Domain::Real, x);
    vec![
        two(
            "MixtureSameFamily<MultivariateNormalDiag>",
            &[|loc, scale| {
                let mixing = mixing(&[loc.get(0)?.get(0)?])?;
                MixtureSameFamily::new(mixing, MultivariateNormalDiag::new(loc, scale)?)
            }],
            |of| of,
        )
        .of([
            v("", Domain::Real, &[3, 2], [0.5, -0.5, 0.1, 0.2, 0.3, 0.4]),
            v("", Domain::Real, &[3, 2], [1.25, 0.75, 1., 2., 0.5, 1.5]),
        ]),
        two(
            "Transformed by LowerTriangularAffine",
            &[|loc, tril| base(loc)?.transformed_by(LowerTriangularAffine::new(loc, tril)?)],
            |of| of,
        )
        .of([loc(), v("", Domain::Real, &[2, 2], [1.25, 0., 0.5, 0.75])]),
        three(
            "Transformed by Planar",
            &[|u, w, b| base(u)?.transformed_by(Planar::new(u, w, b)?)],
            |of| of,
        )
        .of([loc(), v("", Domain::Real, &[2], [1.25, 0.75]), number(0.25)]),
        three(
            "Transformed by Radial",
            &[|center, a, b| base(center)?.transformed_by(Radial::new(center, a, b)?)],
            |of| of,
        )
        .of([loc(), number(1.25), number(0.25)]),
    ]
    .into_iter()
    .map(|row| row.at([0.25, 0.5]))
    .collect()
}

#[test]
fn of_vectors() -> Result<()> {
    let mut faults = vec![];
    let all = vectors().into_iter().chain(combined_vectors());
    // The values of a categorical are indices.
    for row in all.filter(|row| row.value.len() == 2) {
        for dtype in DTYPES {
            let pair = |x: &[f64]| Tensor::new(x, CPU)?.to_dtype(dtype);
            let parameters = row.ordinary(&[], dtype)?;
            let good = pair(&row.value)?;
            for bad in BAD {
                let bad = pair(&[bad, 0.5])?;
                let name = format!("{} log_prob at {:?}", row.name, floats(&bad)?);
                let f = |p: &[Tensor], x: &Tensor| row.build(p)?.log_prob(x);
                for rows in [1, 40] {
                    let own = !row.name.starts_with("Mixture");
                    sweep(
                        &name,
                        &parameters,
                        [&bad, &good],
                        rows,
                        own,
                        &f,
                        &mut faults,
                    )?;
                }
            }
        }
    }
    report(faults);
    Ok(())
}

/// Flows of vectors, by recipe: gradients of all weights, with a bad row in the batch and without it.
#[test]
fn of_flows() -> Result<()> {
    type Recipe = fn(VarBuilder) -> Result<Box<dyn Bijector>>;
    let recipes: [(&str, Recipe); 6] = [
        ("nice", |vb| Ok(Box::new(nice(&NiceConfig::default(), vb)?))),
        ("real_nvp", |vb| {
            Ok(Box::new(real_nvp(&RealNvpConfig::default(), vb)?))
        }),
        ("neural_spline", |vb| {
            Ok(Box::new(neural_spline(&NeuralSplineConfig::default(), vb)?))
        }),
        ("maf", |vb| Ok(Box::new(maf(&MafConfig::default(), vb)?))),
        ("iaf", |vb| Ok(Box::new(iaf(&MafConfig::default(), vb)?))),
        ("ffjord", |vb| {
            Ok(Box::new(ffjord(&FfjordConfig::default(), vb)?))
        }),
    ];
    let mut faults = vec![];
    for (name, recipe) in recipes {
        for dtype in [DType::F32, DType::F64] {
            let vars = VarMap::new();
            let flow = recipe(init::seeded(&vars, 3, dtype, CPU))?;
            // The last layers start at zero: everything is moved, so that gradients go everywhere.
            let mut rng = Rng::new(5);
            for (_, var) in init::named_vars(&vars)? {
                let noise = (rng.normal(var.dims(), dtype, CPU)? * 0.1)?;
                var.set(&(var.as_tensor() + noise)?)?;
            }
            let zeros = Tensor::zeros(2, dtype, CPU)?;
            let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
            let model = base.transformed_by(&flow)?;
            let good = rng.normal((40, 2), dtype, CPU)?;
            let gradients = |x: &Tensor, from: usize| -> Result<Vec<(String, Vec<f64>)>> {
                let x = Var::from_tensor(x)?;
                let y = model.log_prob(&x)?;
                let y = y.narrow(0, from, y.dim(0)? - from)?;
                let store = y.sum_all()?.backward()?;
                let mut out = vec![];
                for (name, var) in init::named_vars(&vars)? {
                    if let Some(gradient) = store.get(&var) {
                        out.push((name, floats(gradient)?));
                    }
                }
                let value = floats(store.get(&x).expect("a gradient of the value"))?;
                assert!(
                    value[..2 * from].iter().all(|g| *g == 0.),
                    "{name} {value:?}"
                );
                out.push(("value".into(), value[2 * from..].to_vec()));
                Ok(out)
            };
            let want = gradients(&good, 0)?;
            for bad in BAD {
                let bad = Tensor::new(&[[bad, 0.5]], CPU)?.to_dtype(dtype)?;
                let got = gradients(&Tensor::cat(&[&bad, &good], 0)?, 1)?;
                assert_eq!(got.len(), want.len());
                for ((weight, got), (_, want)) in got.iter().zip(&want) {
                    if let Some(what) = compare(got, want, dtype) {
                        faults.push(format!("{name} {dtype:?} {weight} at {bad}: {what}"));
                    }
                }
            }
        }
    }
    report(faults);
    Ok(())
}

/// Missing observations: what is masked has no gradient, and the rest has its own.
#[test]
fn of_what_is_masked() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let tensor = |x: &[f64]| Tensor::new(x, CPU)?.to_dtype(dtype);
        let loc = Var::from_tensor(&tensor(&[0.5, 0.5])?)?;
        let scale = Var::from_tensor(&tensor(&[1., 1.])?)?;
        let mask = Tensor::new(&[0u8, 1], CPU)?;
        let x = tensor(&[f64::NAN, 1.])?;
        let masked = Masked::new(Normal::new(&loc, &scale)?, &mask)?;
        let store = masked.log_prob(&x)?.sum_all()?.backward()?;
        let of = |v: &Var| floats(store.get(v).expect("a gradient"));
        assert_eq!(of(&loc)?, [0., 0.5]);
        assert_eq!(of(&scale)?, [0., -0.75]);
    }
    Ok(())
}

/// Networks: a bad row in the batch, whose outputs are not in the loss, leaves the gradients of all weights as they are.
#[test]
fn of_networks() -> Result<()> {
    type Network = fn(VarBuilder) -> Result<Box<dyn Module>>;
    let networks: [(&str, &[usize], Network); 5] = [
        ("mlp, relu", &[3], |vb| {
            Ok(Box::new(net::mlp(&[3, 8, 4], Activation::Relu, vb)?))
        }),
        ("mlp, silu", &[3], |vb| {
            Ok(Box::new(net::mlp(&[3, 8, 8, 4], Activation::Silu, vb)?))
        }),
        ("mlp, tanh", &[3], |vb| {
            Ok(Box::new(net::mlp(&[3, 8, 4], Activation::Tanh, vb)?))
        }),
        ("convolutions", &[1, 8, 8], |vb| {
            let config = net::ConvEncoderConfig::default();
            Ok(Box::new(net::conv_encoder(&config, (1, 8, 8), vb)?))
        }),
        ("residual", &[2, 8, 8], |vb| {
            let config = net::ResidualNetConfig {
                inputs: 2,
                outputs: 3,
                ..Default::default()
            };
            Ok(Box::new(net::residual_net(&config, vb)?))
        }),
    ];
    let mut faults = vec![];
    for (name, shape, network) in networks {
        let (vars, dtype) = (VarMap::new(), DType::F32);
        let network = network(init::seeded(&vars, 3, dtype, CPU))?;
        let mut rng = Rng::new(5);
        for (_, var) in init::named_vars(&vars)? {
            let noise = (rng.normal(var.dims(), dtype, CPU)? * 0.1)?;
            var.set(&(var.as_tensor() + noise)?)?;
        }
        let good = rng.normal([&[6], shape].concat(), dtype, CPU)?;
        let gradients = |x: &Tensor, from: usize| -> Result<Vec<(String, Vec<f64>)>> {
            let x = Var::from_tensor(x)?;
            let y = network.forward(&x)?;
            let store = y
                .narrow(0, from, y.dim(0)? - from)?
                .sqr()?
                .sum_all()?
                .backward()?;
            let mut out = vec![];
            for (name, var) in init::named_vars(&vars)? {
                out.push((name, floats(store.get(&var).expect("a gradient"))?));
            }
            let value = store.get(&x).expect("a gradient of the value");
            out.push(("value".into(), floats(&value.narrow(0, from, 6)?)?));
            Ok(out)
        };
        let want = gradients(&good, 0)?;
        for bad in [f64::NAN, f64::INFINITY, 3e38] {
            let bad = Tensor::full(bad as f32, [&[1], shape].concat(), CPU)?;
            let got = gradients(&Tensor::cat(&[&bad, &good], 0)?, 1)?;
            for ((weight, got), (_, want)) in got.iter().zip(&want) {
                if let Some(what) = compare(got, want, dtype) {
                    faults.push(format!("{name} {weight}: {what}"));
                }
            }
        }
    }
    report(faults);
    Ok(())
}

/// Functions of tensors, by element and by row.
#[test]
fn of_functions() -> Result<()> {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let by_element: [(&str, Function); 16] = [
        ("softplus", special::softplus),
        ("log_sigmoid", special::log_sigmoid),
        ("log1p", special::log1p),
        ("expm1", special::expm1),
        ("log1mexp", special::log1mexp),
        ("log_cosh", special::log_cosh),
        ("lgamma", special::lgamma),
        ("digamma", special::digamma),
        ("trigamma", special::trigamma),
        ("erf", special::erf),
        ("erfinv", special::erfinv),
        ("ndtr", special::ndtr),
        ("log_ndtr", special::log_ndtr),
        ("ndtri", special::ndtri),
        ("log_i0", special::log_i0),
        ("i1e", special::i1e),
    ];
    let by_row: [(&str, Function); 3] = [
        ("logsumexp", |x| special::logsumexp(x, 1)),
        ("softmax", |x| special::softmax(x, 1)),
        ("log_softmax", |x| special::log_softmax(x, 1)),
    ];
    let mut faults = vec![];
    for dtype in DTYPES {
        for (name, f) in by_element.iter().chain(&by_row) {
            for bad in BAD {
                let x = Tensor::new(&[[bad, 0.25], [0.5, 0.25]], CPU)?.to_dtype(dtype)?;
                let x = Var::from_tensor(&x)?;
                let y = f(&x)?.narrow(0, 1, 1)?;
                let weights = Tensor::new(&[2f32, 1.], CPU)?.to_dtype(dtype)?;
                let y = if y.rank() == 2 {
                    y.broadcast_mul(&weights)?
                } else {
                    y
                };
                let store = y.sum_all()?.backward()?;
                let got = floats(store.get(&x).expect("a gradient"))?;
                if got[..2] != [0., 0.] || !got[2..].iter().all(|g| g.abs() < 1e3) {
                    faults.push(format!("{name} {dtype:?} at {bad}: {got:?}"));
                }
            }
        }
    }
    report(faults);
    Ok(())
}

/// Vectors that were observed in part.
#[test]
fn of_what_was_observed() -> Result<()> {
    type Function = fn(&MultivariateNormal, &Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 2] = [
        ("log_prob_observed", MultivariateNormal::log_prob_observed),
        ("conditional_mean", MultivariateNormal::conditional_mean),
    ];
    let mut faults = vec![];
    for dtype in [DType::F32, DType::F64] {
        let tensor =
            |x: &[f64], shape: &[usize]| Tensor::from_slice(x, shape, CPU)?.to_dtype(dtype);
        let parameters = [
            tensor(&[0.5, -0.5], &[2])?,
            tensor(&[1.25, 0., 0.5, 0.75], &[2, 2])?,
        ];
        let good = tensor(&[0.25, f64::NAN], &[2])?;
        for bad in [f64::INFINITY, f64::NEG_INFINITY, 3e38] {
            let bad = tensor(&[bad, f64::NAN], &[2])?;
            for (name, function) in functions {
                let f =
                    |p: &[Tensor], x: &Tensor| function(&MultivariateNormal::new(&p[0], &p[1])?, x);
                let name = format!("{name} at {:?}", floats(&bad)?);
                sweep(&name, &parameters, [&bad, &good], 3, true, &f, &mut faults)?;
            }
        }
    }
    report(faults);
    Ok(())
}

/// A bijector of somebody else, of candle operations, whose range depends on the element of the batch.
#[test]
fn of_a_bijector_of_candle_operations() -> Result<()> {
    struct ShiftedExp {
        loc: Tensor,
        scale: Tensor,
    }
    impl Bijector for ShiftedExp {
        fn event_rank(&self) -> usize {
            0
        }
        fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let y = x.exp()?.broadcast_mul(&self.scale)?;
            let log_det = x.broadcast_add(&self.scale.log()?)?;
            Ok((y.broadcast_add(&self.loc)?, log_det))
        }
        fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
            let x = y
                .broadcast_sub(&self.loc)?
                .broadcast_div(&self.scale)?
                .log()?;
            let log_det = x.broadcast_add(&self.scale.log()?)?.neg()?;
            Ok((x, log_det))
        }
    }
    for bad in [f64::NAN, 1., 0.5, f64::INFINITY] {
        let loc = Var::new(&[0f64, 1.], CPU)?;
        let scale = Var::new(1.5f64, CPU)?;
        let zero = Tensor::zeros(2, DType::F64, CPU)?;
        let base = Normal::new(&zero, &zero.ones_like()?)?;
        let bijector = ShiftedExp {
            loc: loc.as_tensor().clone(),
            scale: scale.as_tensor().clone(),
        };
        let model = base.transformed_by(bijector)?;
        let y = model.log_prob(&Tensor::new(&[1., bad], CPU)?)?;
        let store = y.get(0)?.backward()?;
        let of = |var: &Var| floats(store.get(var).expect("a gradient"));
        // ln(y / s) = -0.405: the density of x falls by 0.405 a unit of ln s, and 1 / y to loc.
        let x = (1f64 / 1.5).ln();
        let want = [x + 1., 0.];
        for (got, want) in of(&loc)?.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{bad}: {got} for {want}");
        }
        assert!((of(&scale)?[0] - x / 1.5).abs() < 1e-12, "{bad}");
    }
    Ok(())
}

/// Divergences: an infinite mean of one element of the batch.
#[test]
fn of_divergences() -> Result<()> {
    let loc = Var::new(&[[f64::INFINITY, 0.], [0.1, 0.2]], CPU)?;
    let scale = Var::new(&[1.25f64, 0.75], CPU)?;
    let eye = Tensor::eye(2, DType::F64, CPU)?;
    let p = MultivariateNormal::new_unchecked(&loc, &eye)?;
    let q = MultivariateNormalDiag::new(&scale.zeros_like()?, &scale)?;
    let store = p.kl(&q)?.get(1)?.backward()?;
    let loc = floats(store.get(&loc).expect("a gradient"))?;
    assert_eq!(loc[..2], [0., 0.]);
    let scale = floats(store.get(&scale).expect("a gradient"))?;
    assert!(
        loc.iter().chain(&scale).all(|g| g.is_finite()),
        "{loc:?} {scale:?}"
    );
    Ok(())
}

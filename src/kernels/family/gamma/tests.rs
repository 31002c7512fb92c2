use super::element::Element;
use super::*;
use crate::kernels::machine::simd::{Loop, dispatch};
use candle_core::Var;

fn golden() -> Vec<serde_json::Value> {
    let file: serde_json::Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/implicit_gradients.json"
    )))
    .unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn numbers(v: &serde_json::Value) -> Vec<f64> {
    let list = v.get("data").unwrap_or(v);
    list.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

struct Derivatives<'a>(&'a [f32], &'a [f32], &'a mut [f32]);

impl Loop for Derivatives<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        implicit::derivatives::<FMA>(self.0, self.1, self.2);
    }
}

fn derivatives(a: &[f32], y: &[f32]) -> Vec<f32> {
    let mut out = vec![0.; a.len()];
    dispatch(Derivatives(a, y, &mut out));
    let mut plain = vec![0.; a.len()];
    Derivatives(a, y, &mut plain).run::<false>();
    for (x, y) in out.iter().zip(&plain) {
        assert!((x - y).abs() <= 1e-4 * x.abs(), "{x} {y}");
    }
    out
}

#[test]
fn implicit_derivatives_meet_the_reference() {
    let cases = golden();
    let case = cases.iter().find(|c| c["distribution"] == "Gamma").unwrap();
    let a = numbers(&case["args"]["alpha"]);
    let z = numbers(&case["args"]["z"]);
    let want = numbers(&case["dlogz_dalpha"]);
    assert_eq!(a.len(), 128);
    let y: Vec<f64> = z.iter().map(|z| z.ln()).collect();
    let single: Vec<f32> = a.iter().map(|a| *a as f32).collect();
    let logs: Vec<f32> = y.iter().map(|y| *y as f32).collect();
    let got = derivatives(&single, &logs);
    let mut worst = (0f64, 0f64);
    for i in 0..a.len() {
        let exact = (implicit::derivative(a[i], y[i]) / want[i] - 1.).abs();
        assert!(exact < 1e-7, "a {} z {}: {exact:e}", a[i], z[i]);
        // The rounded logarithm is another question, so it is asked in double precision.
        let rounded = implicit::derivative(a[i], f64::from(logs[i]));
        let error = (f64::from(got[i]) / want[i] - 1.).abs();
        let own = (f64::from(got[i]) / rounded - 1.).abs();
        assert!(
            error < 5e-4 && own < 5e-5,
            "a {} z {}: {error:e} {own:e}",
            a[i],
            z[i]
        );
        worst = (worst.0.max(error), worst.1.max(exact));
    }
    println!(
        "largest relative error: f32 {:e}, f64 {:e}",
        worst.0, worst.1
    );
}

#[test]
fn the_fast_path_follows_the_slow_one_everywhere() {
    let (mut a, mut y) = (vec![], vec![]);
    for i in 0..400 {
        let alpha = 10f32.powf(-6. + 12. * i as f32 / 399.);
        for j in 0..200 {
            let z = -9. + 18. * j as f32 / 199.;
            a.push(alpha);
            let spread = z * (1. / alpha.sqrt()).min(3.);
            y.push(
                if alpha < 0.3 && z < 0. {
                    z * z / alpha
                } else {
                    alpha.ln() + spread
                } * if alpha < 0.3 && z < 0. { -1. } else { 1. },
            );
        }
    }
    let got = derivatives(&a, &y);
    let mut worst = 0f64;
    for i in 0..a.len() {
        let want = implicit::derivative(a[i].into(), y[i].into());
        assert!(want.is_finite() && want > 0.);
        let error = (f64::from(got[i]) / want - 1.).abs();
        assert!(error < 1e-4, "a {} y {}: {} {want}", a[i], y[i], got[i]);
        worst = worst.max(error);
    }
    println!("largest relative error {worst:e}");
}

#[test]
fn simplex_gradients_meet_the_reference() {
    for case in golden() {
        if case["distribution"] != "Dirichlet from Gammas" {
            continue;
        }
        let a = numbers(&case["args"]["alpha"]);
        let g = numbers(&case["args"]["g"]);
        let v = numbers(&case["args"]["v"]);
        let want = numbers(&case["vjp"]);
        let k = a.len();
        let scale = want.iter().fold(0f64, |m, w| m.max(w.abs()));
        let mut x: Vec<f64> = g.iter().map(|g| g.ln()).collect();
        let mut norm = [0.];
        f64::normalise(k, false, &mut x, &mut norm);
        let mut out = vec![0.; k];
        f64::simplex_gradient(k, false, &a, &x, &norm, &v, &mut out);
        for (got, want) in out.iter().zip(&want) {
            assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
        }
        // The same gradient through the logarithm: d x = x d ln x.
        let weighted: Vec<f64> = v.iter().zip(&x).map(|(v, x)| v * x).collect();
        let mut log: Vec<f64> = g.iter().map(|g| g.ln()).collect();
        f64::normalise(k, true, &mut log, &mut norm);
        f64::simplex_gradient(k, true, &a, &log, &norm, &weighted, &mut out);
        for (got, want) in out.iter().zip(&want) {
            assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
        }
        let single = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let mut x: Vec<f32> = g.iter().map(|g| g.ln() as f32).collect();
        let (mut norm, mut out) = ([0.], vec![0.; k]);
        f32::normalise(k, false, &mut x, &mut norm);
        f32::simplex_gradient(k, false, &single(&a), &x, &norm, &single(&v), &mut out);
        for (got, want) in out.iter().zip(&want) {
            let error = (f64::from(*got) - want).abs();
            assert!(error < 5e-4 * want.abs() + 1e-6 * scale, "{got} {want}");
        }
    }
}

fn stream(draw: u64) -> Stream {
    Stream { key: 7, draw }
}

/// Gradients of a draw against differences of the draw itself are not defined (rejections jump), so they are compared
/// with the implicit derivative at the drawn value, over shapes and layouts.
#[test]
fn nodes_have_the_gradients_of_their_draws() -> candle_core::Result<()> {
    let device = Device::Cpu;
    for dtype in [DType::F32, DType::F64] {
        let base = Tensor::new(
            &[
                [0.3f64, 4., 1e-3, 0.9],
                [50., 1., 2.5, 0.05],
                [7., 0.5, 1.5, 3.],
            ],
            &device,
        )?
        .to_dtype(dtype)?;
        let views = [
            base.clone(),
            base.t()?,
            base.narrow(1, 1, 2)?,
            base.narrow(0, 0, 1)?.broadcast_as((5, 4))?,
        ];
        for view in views {
            for samples in [&[][..], &[3], &[0], &[2, 3000]] {
                for log in [true, false] {
                    let a = Var::from_tensor(&view.contiguous()?)?;
                    let rate = Var::from_tensor(&((view.contiguous()? * 0.5)? + 1.)?)?;
                    let draw = gamma(&a, Some(&rate), samples, stream(1), log).unwrap();
                    let shape = [samples, view.dims()].concat();
                    assert_eq!(draw.dims(), shape);
                    let weights = draw.zeros_like()?.affine(1., 0.7)?;
                    let gradients = (&draw * &weights)?.sum_all()?.backward()?;
                    let value: Vec<f64> = draw.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
                    let flat = |t: &Tensor| -> candle_core::Result<Vec<f64>> {
                        t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
                    };
                    let (av, rv) = (flat(&a)?, flat(&rate)?);
                    let n = av.len();
                    let (mut da, mut dr) = (vec![0.; n], vec![0.; n]);
                    let (mut sa, mut sr) = (0., 0.);
                    for (i, x) in value.iter().enumerate() {
                        let (a, rate) = (av[i % n], rv[i % n]);
                        let y = if log { *x } else { x.ln() } + rate.ln();
                        let factor = 0.7 * if log { 1. } else { *x };
                        if factor > 0. {
                            da[i % n] += factor * implicit::derivative(a, y);
                        }
                        dr[i % n] -= factor / rate;
                        sa = f64::max(sa, da[i % n]);
                        sr = f64::max(sr, -dr[i % n]);
                    }
                    let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-10 };
                    for (name, var, want) in [("a", &a, da), ("rate", &rate, dr)] {
                        let got = flat(gradients.get(var).unwrap())?;
                        for (got, want) in got.iter().zip(&want) {
                            let error = (got - want).abs();
                            assert!(
                                error <= tolerance * want.abs() + 1e-30,
                                "{name} {dtype:?} {shape:?} log {log}: {got} {want}"
                            );
                        }
                    }
                    // A strided view gives the same draw, and a copy of its values too.
                    let again = gamma(&view, None, samples, stream(1), true).unwrap();
                    let copy = gamma(&a, None, samples, stream(1), true).unwrap();
                    assert_eq!(flat(&again)?, flat(&copy)?);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn draws_are_the_same_at_any_number_of_threads() -> candle_core::Result<()> {
    let n = 100_003;
    let values: Vec<f32> = (0..n).map(|i| 0.01 + (i % 97) as f32 * 0.1).collect();
    for dtype in [DType::F32, DType::F64] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| -> candle_core::Result<Vec<Vec<f64>>> {
                let a = Tensor::new(values.as_slice(), &Device::Cpu)?.to_dtype(dtype)?;
                let a = Var::from_tensor(&a)?;
                let g = gamma(&a, None, &[], stream(3), false).unwrap();
                let few = a.narrow(0, 0, 30)?.reshape((10, 3))?;
                let x = dirichlet(&few, &[4001], stream(4), false).unwrap();
                let loss = (g.sum_all()? + x.narrow(2, 1, 1)?.sqr()?.sum_all()?)?;
                let gradient = loss.backward()?.get(&a).unwrap().clone();
                [g, x, gradient]
                    .iter()
                    .map(|t| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1())
                    .collect()
            })
        };
        let one = run(1)?;
        assert_eq!(one, run(2)?);
        assert_eq!(one, run(3)?);
        assert!(one.iter().flatten().all(|x| x.is_finite()));
    }
    Ok(())
}

#[test]
fn concentrations_without_meaning_give_nan() -> candle_core::Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let a = Tensor::new(
            &[-1f64, 0., f64::NAN, f64::INFINITY, 1e-6, 1e6],
            &Device::Cpu,
        )?;
        let draw = gamma(&a.to_dtype(dtype)?, None, &[1000], stream(0), true).unwrap();
        for row in draw.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            assert!(row[..3].iter().all(|x| x.is_nan()));
            assert_eq!(row[3], f64::INFINITY);
            assert!(row[4..].iter().all(|x| x.is_finite()));
            assert!((row[5] - 1e6f64.ln()).abs() < 7e-3);
        }
    }
    Ok(())
}

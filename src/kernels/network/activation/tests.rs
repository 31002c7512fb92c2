use super::*;
use candle_core::{DType, Device, Var};

const ALL: [Activation; 10] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(-0.5),
    Activation::Elu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Silu,
    Activation::Gelu,
];

fn points() -> Vec<f32> {
    let mut x: Vec<f32> = (0..117).map(|i| (i as f32 - 58.) * 0.21).collect();
    x.extend([0., -0., 1e-6, -1e-6, 30., -30., 100., -100.]);
    x
}

fn weight(i: usize) -> f64 {
    (i % 7) as f64 - 2.5
}

/// Value and gradient of sum(f(x) w), with the composed form in f64 as the reference.
fn value_and_gradient(f: Activation, x: &Tensor, composed: bool) -> Result<(Tensor, Tensor)> {
    let var = Var::from_tensor(x)?;
    let y = if composed {
        f.composed(&var)?
    } else {
        f.forward(&var)?
    };
    let w: Vec<f64> = (0..x.elem_count()).map(weight).collect();
    let w = Tensor::from_vec(w, x.shape(), x.device())?.to_dtype(x.dtype())?;
    let gradients = (&y * w)?.sum_all()?.backward()?;
    let gradient = match gradients.get(&var) {
        Some(g) => g.clone(),
        None => x.zeros_like()?,
    };
    Ok((y.detach(), gradient))
}

fn close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let want = want.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let near = (g - w).abs() <= tolerance * (1. + w.abs());
        assert!(
            near || (g.is_nan() && w.is_nan()),
            "{what} at {i}: {g}, want {w}"
        );
    }
    Ok(())
}

#[test]
fn fused_meets_composed_in_every_layout() -> Result<()> {
    let flat = Tensor::from_vec(points(), 125, &Device::Cpu)?;
    let grid = flat.reshape((5, 25))?;
    let inputs = [
        flat.clone(),
        grid.t()?,
        grid.narrow(1, 3, 7)?,
        flat.narrow(0, 50, 1)?.broadcast_as((3, 4))?,
        Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?,
        flat.get(7)?,
        Tensor::zeros((200, 400), DType::F32, &Device::Cpu)?
            .broadcast_add(&flat.narrow(0, 20, 1)?)?,
    ];
    for f in ALL {
        for x in &inputs {
            let (value, gradient) = value_and_gradient(f, x, false)?;
            let (want, slope) = value_and_gradient(f, &x.to_dtype(DType::F64)?, true)?;
            close(&value, &want, 1e-6, &format!("{f:?} {:?}", x.dims()))?;
            close(&gradient, &slope, 3e-6, &format!("{f:?}' {:?}", x.dims()))?;
        }
    }
    Ok(())
}

#[test]
fn composed_gradients_meet_central_differences() -> Result<()> {
    let h = 1e-5;
    let x: Vec<f64> = (0..60).map(|i| (i as f64 - 29.7) * 0.3).collect();
    let x = Tensor::from_vec(x, 60, &Device::Cpu)?;
    for f in ALL {
        let var = Var::from_tensor(&x)?;
        let gradients = f.forward(&var)?.sum_all()?.backward()?;
        let up = f.forward(&(&x + h)?)?;
        let down = f.forward(&(&x - h)?)?;
        let want = ((up - down)? / (2. * h))?;
        if let Some(got) = gradients.get(&var) {
            close(got, &want, 1e-9, &format!("{f:?}"))?;
        } else {
            assert_eq!(f, Activation::Identity);
        }
    }
    Ok(())
}

#[test]
fn infinities_and_nan_are_kept() -> Result<()> {
    let x = Tensor::new(
        &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.],
        &Device::Cpu,
    )?;
    for f in ALL {
        let (value, gradient) = value_and_gradient(f, &x, false)?;
        let (v, g) = (value.to_vec1::<f32>()?, gradient.to_vec1::<f32>()?);
        let top = if matches!(f, Activation::Tanh | Activation::Sigmoid) {
            1.
        } else {
            f32::INFINITY
        };
        assert_eq!(v[0], top, "{f:?}");
        let bottom = match f {
            Activation::Identity | Activation::LeakyRelu(0.2) => f32::NEG_INFINITY,
            Activation::LeakyRelu(_) => f32::INFINITY,
            Activation::Elu | Activation::Tanh => -1.,
            _ => 0.,
        };
        assert_eq!(v[1], bottom, "{f:?}");
        assert!(v[2].is_nan(), "{f:?}");
        if f != Activation::Identity {
            assert!(g[0].is_finite() && g[1].is_finite(), "{f:?} {g:?}");
        }
    }
    // The convention at the kink.
    let (_, g) = value_and_gradient(
        Activation::Relu,
        &Tensor::zeros(2, DType::F32, &Device::Cpu)?,
        false,
    )?;
    assert_eq!(g.to_vec1::<f32>()?, [0., 0.]);
    Ok(())
}

struct InPlace<'a>(Activation, &'a mut [f32], &'a mut [f32]);
impl Loop for InPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let x = self.1.to_vec();
        self.0.apply_slice::<FMA>(self.1);
        let from_output = self.0.slope_from_output();
        self.0
            .backprop_slice::<FMA>(if from_output { self.1 } else { &x }, self.2);
    }
}

#[test]
fn slices_meet_the_node() -> Result<()> {
    let x = points();
    for f in ALL {
        let tensor = Tensor::from_vec(x.clone(), x.len(), &Device::Cpu)?;
        let (value, gradient) = value_and_gradient(f, &tensor, false)?;
        for detected in [true, false] {
            let mut y = x.clone();
            let mut g: Vec<f32> = (0..x.len()).map(|i| weight(i) as f32).collect();
            let l = InPlace(f, &mut y, &mut g);
            if detected {
                dispatch(l);
            } else {
                l.run::<false>();
            }
            let what = format!("{f:?} {detected}");
            close(
                &Tensor::from_vec(y, x.len(), &Device::Cpu)?,
                &value,
                1e-6,
                &what,
            )?;
            close(
                &Tensor::from_vec(g, x.len(), &Device::Cpu)?,
                &gradient,
                3e-6,
                &what,
            )?;
        }
    }
    Ok(())
}

/// Values by erfc of the C library; the crate behind `normal_cdf` keeps ten digits there, `1 + erf` none.
#[test]
fn gelu_in_f64_keeps_its_tail() -> Result<()> {
    let x = Tensor::new(&[-10f64, -3., 0., 2., f64::NEG_INFINITY], &Device::Cpu)?;
    let y = Activation::Gelu.forward(&x)?.to_vec1::<f64>()?;
    let want = [
        -7.619_853_024_160_593e-23,
        -4.049_694_094_890_287e-3,
        0.,
        1.954_499_736_103_641_6,
        0.,
    ];
    for (y, want) in y.iter().zip(want) {
        assert!((y - want).abs() <= 1e-10 * want.abs(), "{y} {want}");
    }
    Ok(())
}

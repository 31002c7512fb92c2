//! Pixels that are not finite or that nobody asks for, and what has no fused form.

use super::*;

#[test]
fn a_gap_of_nan_is_none_within_a_bound() -> Result<()> {
    let numbers = |x: f64| Tensor::new(&[1., x, 2.], &Device::Cpu);
    let (plain, spoilt) = (numbers(1.)?, numbers(f64::NAN)?);
    assert!(gap(&spoilt, &plain)?.is_nan() && gap(&plain, &spoilt)?.is_nan());
    assert_eq!(gap(&plain, &numbers(3.)?)?, 2. / 3.);
    Ok(())
}

/// An image that is not in the loss may be anything.
#[test]
fn what_nobody_asks_for_spoils_nothing() -> Result<()> {
    let sizes = Sizes {
        batch: 3,
        s: 2,
        m: 2,
        image: [4, 5],
        k: 3,
        layers: 2,
    };
    for scheme in SCHEMES {
        let law = law(scheme, Activation::Tanh);
        let set = draw(scheme, sizes, 1.)?;
        let run = |spoilt: f64| -> Result<Vec<Tensor>> {
            let mut set = set.clone();
            if let Some(y) = &set[0] {
                let parts = [
                    y.narrow(0, 0, 1)?,
                    (y.narrow(0, 1, 1)? * spoilt)?,
                    y.narrow(0, 2, 1)?,
                ];
                set[0] = Some(Tensor::cat(&parts, 0)?);
            }
            let (vars, set) = variables(&set)?;
            let mut results = fused(law, &set)?;
            for result in &mut results {
                *result = Tensor::cat(&[result.narrow(0, 0, 1)?, result.narrow(0, 2, 1)?], 0)?;
            }
            gradients(&vars, &results, [1., 0.5])
        };
        let want = run(1.)?;
        for spoilt in [f64::NAN, f64::INFINITY] {
            for (a, b) in run(spoilt)?.iter().zip(&want) {
                assert_eq!(gap(a, b)?, 0., "{scheme:?}");
            }
        }
    }
    Ok(())
}

/// Pixels that are not finite reach their neighbours alone, through the borders between rows as little as elsewhere.
#[test]
fn infinite_pixels_stay_where_they_are() -> Result<()> {
    let sizes = Sizes {
        batch: 1,
        s: 1,
        m: 1,
        image: [6, 6],
        k: 3,
        layers: 1,
    };
    let law = law(Scheme::Euler(Force::Single), Activation::Relu);
    let mut set = draw(law.scheme, sizes, 1.)?;
    let pixels = (0..36).map(|n| if n == 11 { f32::NAN } else { n as f32 });
    set[0] = Some(Tensor::from_iter(pixels, &Device::Cpu)?.reshape((1, 1, 6, 6))?);
    let got = fused(law, &set)?[0].flatten_all()?.to_vec1::<f32>()?;
    for (n, x) in got.iter().enumerate() {
        let near = n / 6 <= 2 && n % 6 >= 4;
        assert_eq!(x.is_nan(), near, "{n}");
    }
    Ok(())
}

/// An image whose pixels are not finite where the loss does not reach has the gradients of one whose pixels are 1 there.
#[test]
fn pixels_that_nobody_asks_for_spoil_nothing() -> Result<()> {
    let sizes = Sizes {
        batch: 1,
        s: 2,
        m: 2,
        image: [8, 6],
        k: 3,
        layers: 1,
    };
    for scheme in SCHEMES {
        let law = law(scheme, Activation::Softplus);
        let run = |pixel: f32| -> Result<Vec<Tensor>> {
            let mut set = draw(scheme, sizes, 1.)?;
            if let Some(y) = &set[0] {
                let mut pixels = y.flatten_all()?.to_vec1::<f32>()?;
                // At the ends of a row, in the middle of one, of both channels.
                [11, 12, 50].iter().for_each(|n: &usize| pixels[*n] = pixel);
                set[0] = Some(Tensor::from_vec(pixels, y.shape(), &Device::Cpu)?);
            }
            let (vars, set) = variables(&set)?;
            let mut results = fused(law, &set)?;
            for result in &mut results {
                *result = result.narrow(2, 5, 3)?;
            }
            gradients(&vars, &results, [1., 0.5])
        };
        let want = run(1.)?;
        for pixel in [f32::NAN, f32::INFINITY] {
            for (n, (a, b)) in run(pixel)?.iter().zip(&want).enumerate() {
                let gap = gap(a, b)?;
                assert!(gap <= 1e-6, "{scheme:?} {n}: {gap}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_left_to_the_composition() -> Result<()> {
    let sizes = Sizes {
        batch: 2,
        s: 2,
        m: 3,
        image: [4, 5],
        k: 3,
        layers: 2,
    };
    let tanh = law(Scheme::Verlet, Activation::Tanh);
    let set = draw(tanh.scheme, sizes, 1.)?;
    assert_eq!(fused(tanh, &set)?.len(), 2);
    assert!(fused(law(tanh.scheme, Activation::Gelu), &set)?.is_empty());
    assert!(fused(tanh, &double(&set)?)?.is_empty());
    assert!(fused(law(Scheme::Euler(Force::Single), Activation::Tanh), &set)?.is_empty());
    for n in 0..5 {
        let mut wrong = set.clone();
        wrong[n] = set[n].as_ref().map(|t| t.narrow(1, 0, 1)).transpose()?;
        assert!(fused(tanh, &wrong)?.is_empty(), "{n}");
    }
    Ok(())
}

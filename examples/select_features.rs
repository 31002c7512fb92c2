//! A few genes of 3051 that tell two leukemias apart: `cargo run --release --example select_features`.

use candle_core::{D, DType, Device, Tensor, safetensors};
use candle_prob::Result;
use candle_prob::select::{
    Ahiht, CrossValidation, HihtConfig, LeastSquares, Preparation, Problem, Selector,
    cross_validate,
};

fn main() -> Result<()> {
    let data = safetensors::load_buffer(include_bytes!("data/leukemia.safetensors"), &Device::Cpu)?;
    // Every third of the 38 patients is for the test.
    let part = |test: bool| -> Result<(Tensor, Tensor)> {
        let patients: Vec<u32> = (0..38).filter(|i| (i % 3 == 0) == test).collect();
        let patients = Tensor::new(patients, &Device::Cpu)?;
        let rows = |name: &str| data[name].index_select(&patients, 0);
        Ok((rows("x")?, rows("y")?))
    };
    let ((x, y), (test_x, test_y)) = (part(false)?, part(true)?);

    let how = Preparation {
        standardize: true,
        ..Preparation::default()
    };
    let method = Ahiht(HihtConfig::default());
    let folds = CrossValidation {
        folds: 5,
        sizes: (0..=15).collect(),
        seed: 0,
    };
    let size = cross_validate(&x, &y, &how, &method, &folds)?.one_standard_error;
    let ranking = method.rank(&x, &y, &how)?;
    let genes = ranking.top(size)?;

    let problem = Problem::classification(&x, &y, &how)?;
    let fit = LeastSquares::on(&problem, genes)?;
    let right = fit.scores(&test_x)?.argmax(D::Minus1)?.eq(&test_y)?;
    let accuracy = right.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    println!("genes {genes:?} are right about {accuracy:.3} of the other patients");
    assert!(size <= 10 && accuracy > 0.9);
    Ok(())
}

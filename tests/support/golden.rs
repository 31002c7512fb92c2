//! Reading reference values.

use candle_core::DType;
use serde_json::Value;

pub fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The numbers of a list; infinities and NaN are texts, what is not defined is null.
pub fn list(v: &Value) -> Vec<Option<f64>> {
    let number = |v: &Value| match v {
        Value::String(s) => s.parse().ok(),
        v => v.as_f64(),
    };
    let list = v.get("data").unwrap_or(v);
    list.as_array().unwrap().iter().map(number).collect()
}

/// `|got - want| <= tolerance * max(|want|, cond, 1)`, with `want` rounded to the dtype.
pub fn check(what: &str, got: f64, want: f64, cond: f64, dtype: DType, tolerance: f64) {
    let want = match dtype {
        DType::F32 => f64::from(want as f32),
        _ => want,
    };
    let close = (got - want).abs() <= tolerance * want.abs().max(cond).max(1.);
    assert!(
        close || got == want,
        "{what} {dtype:?}: {got} is not {want}"
    );
}

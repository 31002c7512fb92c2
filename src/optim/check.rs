//! What is wrong with a set of gradients, by variable name.

use crate::error::Result;
use crate::kernels::reduce::norm;
use candle_core::Var;
use candle_core::backprop::GradStore;
use candle_nn::VarMap;
use std::collections::BTreeMap;
use std::fmt;

/// Variables that deserve a look, in name order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GradReport {
    /// No gradient: the loss does not depend on it, or an operation without a backward pass cut the graph.
    pub missing: Vec<String>,
    /// A gradient whose every element is zero: a dead unit, a saturated function, or a weight of zero.
    pub zero: Vec<String>,
    /// A gradient with an infinite or NaN element.
    pub non_finite: Vec<String>,
    /// The variable itself has an infinite or NaN element.
    pub non_finite_value: Vec<String>,
}

impl GradReport {
    /// Whether there is nothing to report.
    pub fn is_clean(&self) -> bool {
        self == &GradReport::default()
    }
}

/// One line: `no gradient: a, b; zero gradient: c; ...`, or `all gradients are finite and not zero`.
impl fmt::Display for GradReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            ("no gradient", &self.missing),
            ("zero gradient", &self.zero),
            ("non-finite gradient", &self.non_finite),
            ("non-finite value", &self.non_finite_value),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
        if parts.is_empty() {
            return f.write_str("all gradients are finite and not zero");
        }
        f.write_str(&parts.join("; "))
    }
}

/// Lists the floating-point variables that have no, a zero or a non-finite gradient, or that are not finite themselves.
///
/// Several of candle's operations have no backward pass and cut the graph without a word; the loss may still fall. Check
/// once after the first backward pass, and again when a loss turns NaN.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::check_grads;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let a = vars.get(2, "a", Init::Const(1.), DType::F32, &Device::Cpu)?;
/// let b = vars.get(2, "b", Init::Const(0.), DType::F32, &Device::Cpu)?;
/// let loss = (&a + b.detach())?.sum_all()?;
/// let report = check_grads(&loss.backward()?, &vars)?;
/// assert_eq!(report.to_string(), "no gradient: b");
/// # Ok(())
/// # }
/// ```
pub fn check_grads(gradients: &GradStore, vars: &VarMap) -> Result<GradReport> {
    let vars = super::trainable(vars)?;
    let mut report = of_gradients(&vars, gradients)?;
    for (name, var) in &vars {
        if !norm::largest(var)?.is_finite() {
            report.non_finite_value.push(name.clone());
        }
    }
    Ok(report)
}

/// The report without a look at the values.
pub(super) fn of_gradients(
    vars: &BTreeMap<String, Var>,
    gradients: &GradStore,
) -> Result<GradReport> {
    let mut report = GradReport::default();
    for (name, var) in vars {
        let list = match gradients.get(var).map(norm::largest).transpose()? {
            None => &mut report.missing,
            // A variable without elements has nothing that could be wrong.
            Some(0.) if var.elem_count() > 0 => &mut report.zero,
            Some(x) if !x.is_finite() => &mut report.non_finite,
            Some(_) => continue,
        };
        list.push(name.clone());
    }
    Ok(report)
}

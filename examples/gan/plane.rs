//! Point sets in the plane whose modes are known.

use crate::common::planar;
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::f64::consts::TAU;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    Ring,
    Grid,
    Moons,
}

impl Set {
    pub fn name(self) -> &'static str {
        match self {
            Set::Ring => "ring",
            Set::Grid => "grid",
            Set::Moons => "moons",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Set::Ring => "Ring of 8 Gaussians",
            Set::Grid => "Grid of 25 Gaussians",
            Set::Moons => "Two moons",
        }
    }

    /// Half the side of the square that is drawn.
    pub fn reach(self) -> f64 {
        match self {
            Set::Ring => 3.,
            Set::Grid => 5.5,
            Set::Moons => 4.,
        }
    }

    /// The standard deviation of each mode.
    pub fn scale(self) -> f64 {
        match self {
            Set::Ring => 0.02,
            _ => 0.05,
        }
    }

    /// The means of the Gaussians, [K, 2]; moons have none.
    pub fn modes(self) -> Result<Option<Tensor>> {
        let modes: Vec<f32> = match self {
            Set::Ring => (0..8)
                .map(|k| f64::from(k) * TAU / 8.)
                .flat_map(|angle| [2. * angle.cos(), 2. * angle.sin()])
                .map(|x| x as f32)
                .collect(),
            Set::Grid => (0..25u8)
                .flat_map(|k| [k % 5, k / 5])
                .map(|k| 2. * f32::from(k) - 4.)
                .collect(),
            Set::Moons => return Ok(None),
        };
        let count = modes.len() / 2;
        Ok(Some(Tensor::from_vec(modes, (count, 2), &Device::Cpu)?))
    }

    /// `count` points, [count, 2].
    pub fn draw(self, count: usize, rng: &mut Rng) -> Result<Tensor> {
        let Some(modes) = self.modes()? else {
            return planar::Set::Moons.draw(count, rng);
        };
        let index = rng.integers(count, modes.dim(0)?)?;
        let index: Vec<u32> = index.into_iter().map(|k| k as u32).collect();
        let centres = modes.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?;
        let noise = rng.normal((count, 2), DType::F32, &Device::Cpu)?;
        Ok((centres + (noise * self.scale())?)?)
    }
}

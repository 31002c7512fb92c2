//! Sheets of sampled images.

use crate::common::images::Split;
use crate::common::plot::{self, Sample};
use crate::common::report::Output;
use crate::config::Player;
use candle_core::Tensor;
use candle_prob::Result;

pub const IMAGES: usize = 50;
const PER_ROW: usize = 10;

pub fn file(player: &Player, epoch: usize) -> String {
    format!("{}_epoch_{epoch:03}.png", player.name)
}

pub fn write(
    player: &Player,
    epoch: usize,
    split: &Split,
    images: &Tensor,
    output: &Output,
) -> Result<()> {
    let pixels = images.flatten_from(1)?.affine(0.5, 0.5)?.to_vec2::<f32>()?;
    let sample = |pixels| Sample {
        pixels,
        captions: vec![],
    };
    let set = &split.images;
    plot::samples(
        &output.path(&file(player, epoch)),
        &format!(
            "{}, {}: samples after epoch {epoch}",
            player.loss.title(),
            set.name
        ),
        (set.height, set.width),
        PER_ROW,
        &pixels.into_iter().map(sample).collect::<Vec<_>>(),
    )
}

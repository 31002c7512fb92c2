//! Images as the kernels want them: channel by channel, with zeros around.

/// Numbers that are computed at once; planes are whole multiples of it.
pub(super) const WIDTH: usize = 64;

/// How images of one size lie: the rows of a channel one after the other, each followed by the zeros that end it and begin the
/// next one, with zeros before the first and after the last. A shift by rows and columns is then a shift of the whole plane, and
/// what is computed between the rows is not kept.
#[derive(Clone)]
pub(super) struct Planes {
    rows: usize,
    columns: usize,
    /// From a row to the next one.
    row: usize,
    /// Zeros between channels.
    pad: usize,
    /// Numbers of a channel, between its pads.
    pub(super) body: usize,
    /// 1 at the pixels, 0 between the rows.
    pub(super) inside: Vec<f32>,
    /// Where a channel begins under each element of kernels, `[channel, row, column]`.
    taps: Vec<usize>,
    /// Elements of a kernel.
    size: usize,
}

impl Planes {
    /// Of images that kernels of `size` rows and columns shift, with at most so many channels.
    pub(super) fn new([rows, columns]: [usize; 2], size: usize, channels: usize) -> Self {
        let halo = size / 2;
        let row = columns + halo;
        let pad = (halo * row + halo).next_multiple_of(16);
        let body = (rows * row).saturating_sub(halo);
        let body = body.next_multiple_of(WIDTH);
        let pixel = |n: usize| n % row < columns && n / row < rows;
        let mut planes = Planes {
            rows,
            columns,
            row,
            pad,
            body,
            inside: (0..body).map(|n| f32::from(u8::from(pixel(n)))).collect(),
            taps: vec![],
            size: size * size,
        };
        for c in 0..channels {
            for i in 0..size {
                let first = planes.start(c) + i * row - halo * row - halo;
                planes.taps.extend((0..size).map(|j| first + j));
            }
        }
        planes
    }

    /// From a channel to the next one.
    pub(super) fn stride(&self) -> usize {
        self.body + self.pad
    }

    /// Numbers of so many channels with all zeros around.
    pub(super) fn len(&self, channels: usize) -> usize {
        self.pad + channels * self.stride()
    }

    /// Where the body of a channel begins.
    pub(super) fn start(&self, channel: usize) -> usize {
        self.pad + channel * self.stride()
    }

    /// Those of so many channels.
    pub(super) fn taps(&self, channels: usize) -> &[usize] {
        &self.taps[..channels * self.size]
    }

    /// From `[C, H, W]`; what lies between the rows stays.
    pub(super) fn read(&self, image: &[f32], planes: &mut [f32]) {
        let rows = image.chunks_exact(self.columns);
        for (n, from) in rows.enumerate() {
            let at = self.start(n / self.rows) + n % self.rows * self.row;
            planes[at..][..self.columns].copy_from_slice(from);
        }
    }

    /// To `[C, H, W]`.
    pub(super) fn write(&self, planes: &[f32], image: &mut [f32]) {
        let rows = image.chunks_exact_mut(self.columns);
        for (n, to) in rows.enumerate() {
            let at = self.start(n / self.rows) + n % self.rows * self.row;
            to.copy_from_slice(&planes[at..][..self.columns]);
        }
    }
}

//! Sums of products, 32 side by side: what matrices and attention are made of.
//!
//! Each sum is one chain, its terms added in their order, and has its own lane
//! of a register all the way. So it is the same bit for bit however many rows
//! are multiplied at a time, and in however many pieces the terms come.

mod dots;
mod unpack;
mod vector;

pub(super) use dots::{ROWS, Sums, total};
pub(super) use unpack::Format;

#[cfg(target_arch = "x86_64")]
use vector::{Double, Wide};
use vector::{LANES, Portable, Vector};

/// Sums that stand side by side.
pub(super) const WIDTH: usize = 2 * LANES;

/// A value for each of them.
pub(super) type Panel = [[f32; LANES]; 2];

/// The same in 8 bits; multiplied by a panel of scales.
pub(super) type Quants = [[i8; LANES]; 2];

/// Quants that share a scale, in Q8_0.
pub(super) const BLOCK: usize = 32;

/// The vector instructions that a processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of its kind has.
    Base,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// This processor's.
    pub(super) fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let f16c = is_x86_feature_detected!("f16c");
            if is_x86_feature_detected!("avx512f") && f16c {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && f16c {
                return Self::Avx2;
            }
        }
        Self::Base
    }

    /// This processor's, and all below it.
    #[cfg(test)]
    fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return match Self::here() {
            Self::Avx512 => vec![Self::Base, Self::Avx2, Self::Avx512],
            Self::Avx2 => vec![Self::Base, Self::Avx2],
            Self::Base => vec![Self::Base],
        };
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::here()]
    }

    /// Rows multiplied at a time, at most: their sums stay in registers.
    fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 8,
            _ => 2,
        }
    }

    /// Parts `rows` rows into groups that `add` takes: where each starts, and
    /// how many it has.
    pub(super) fn groups(self, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let (most, mut start) = (self.rows(), 0);
        std::iter::from_fn(move || {
            let left = rows - start;
            let size = std::iter::successors(Some(most), |size| Some(size / 2));
            let size = size.take_while(|size| *size > 0).find(|size| *size <= left)?;
            start += size;
            Some((start - size, size))
        })
    }

    /// Adds to every sum of a row its products: term by term `w`, a panel,
    /// times `x`, a value for each row. The rows are a group of `groups`.
    pub(super) fn add(self, w: &[Panel], x: &[f32], sums: &mut [Panel]) {
        match self {
            Self::Base => {
                // SAFETY: the portable vector needs nothing.
                unsafe { add::<Portable>(w, x, sums) }
            }
            // SAFETY: a level is only made where its instructions are there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { add_avx2(w, x, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { add_avx512(w, x, sums) },
        }
    }

    /// Turns whole blocks of a file into values.
    pub(super) fn unpack(self, format: Format, bytes: &[u8], to: &mut [f32]) {
        match self {
            // SAFETY: the portable vector needs nothing.
            Self::Base => unsafe { unpack::unpack::<Portable>(format, bytes, to) },
            // SAFETY: a level is only made where its instructions are there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { unpack_avx2(format, bytes, to) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { unpack_avx512(format, bytes, to) },
        }
    }

    /// Adds the products of `ROWS` rows of weights with each row of `x`: see
    /// `dots`.
    pub(super) fn dots(self, w: &[f32], x: &[f32], sums: &mut [Sums]) {
        match self {
            // SAFETY: the portable vector needs nothing.
            Self::Base => unsafe { dots::dots::<Portable, 2, 2>(w, x, sums) },
            // SAFETY: a level is only made where its instructions are there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { dots_avx2(w, x, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { dots_avx512(w, x, sums) },
        }
    }

    /// Turns quants, of which each `BLOCK` share a panel of scales, into
    /// values. A scale of 11 bits times 8 bits is exact.
    pub(super) fn scale(self, quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
        match self {
            Self::Base => {
                // SAFETY: the portable vector needs nothing.
                unsafe { scale::<Portable>(quants, scales, to) }
            }
            // SAFETY: a level is only made where its instructions are there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { scale_avx2(quants, scales, to) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { scale_avx512(quants, scales, to) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_avx2(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { add::<Double>(w, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,f16c")]
fn add_avx512(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { add::<Wide>(w, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale_avx2(quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { scale::<Double>(quants, scales, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,f16c")]
fn scale_avx512(quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { scale::<Wide>(quants, scales, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_avx2(format: Format, bytes: &[u8], to: &mut [f32]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { unpack::unpack::<Double>(format, bytes, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,f16c")]
fn unpack_avx512(format: Format, bytes: &[u8], to: &mut [f32]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { unpack::unpack::<Wide>(format, bytes, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots_avx2(w: &[f32], x: &[f32], sums: &mut [Sums]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { dots::dots::<Double, 2, 2>(w, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,f16c")]
fn dots_avx512(w: &[f32], x: &[f32], sums: &mut [Sums]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { dots::dots::<Wide, 8, 3>(w, x, sums) }
}

#[inline(always)]
unsafe fn add<V: Vector>(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: the caller's promise.
    unsafe {
        match sums.len() {
            8 => tile::<V, 8>(w, x, sums),
            4 => tile::<V, 4>(w, x, sums),
            2 => tile::<V, 2>(w, x, sums),
            1 => tile::<V, 1>(w, x, sums),
            rows => unreachable!("a group of {rows} rows"),
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize>(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut held = [[V::splat(0.0); 2]; ROWS];
        for (held, sums) in held.iter_mut().zip(&*sums) {
            *held = [V::load(&sums[0]), V::load(&sums[1])];
        }
        for (w, x) in w.iter().zip(x.as_chunks::<ROWS>().0) {
            let w = [V::load(&w[0]), V::load(&w[1])];
            for (held, x) in held.iter_mut().zip(x) {
                let x = V::splat(*x);
                held[0] = held[0].plus(w[0], x);
                held[1] = held[1].plus(w[1], x);
            }
        }
        for (held, sums) in held.iter().zip(sums) {
            held[0].store(&mut sums[0]);
            held[1].store(&mut sums[1]);
        }
    }
}

#[inline(always)]
unsafe fn scale<V: Vector>(quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
    let blocks = quants.chunks(BLOCK).zip(to.chunks_mut(BLOCK)).zip(scales);
    for ((quants, to), scales) in blocks {
        // SAFETY: the caller's promise.
        unsafe {
            let scales = [V::load(&scales[0]), V::load(&scales[1])];
            for (quants, to) in quants.iter().zip(to) {
                V::whole(&quants[0]).times(scales[0]).store(&mut to[0]);
                V::whole(&quants[1]).times(scales[1]).store(&mut to[1]);
            }
        }
    }
}

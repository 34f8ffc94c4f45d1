//! Sums of products, 32 side by side: what matrices and attention are made of.
//!
//! Each sum is one chain, its terms added in their order, and has its own lane
//! of a register all the way. So it is the same bit for bit however many rows
//! are multiplied at a time, and in however many pieces the terms come.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Values in a register of the widest kind there is.
const LANES: usize = 16;

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
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Base
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
#[target_feature(enable = "avx2,fma")]
fn add_avx2(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { add::<Double>(w, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn add_avx512(w: &[Panel], x: &[f32], sums: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { add::<Wide>(w, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn scale_avx2(quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { scale::<Double>(quants, scales, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn scale_avx512(quants: &[Quants], scales: &[Panel], to: &mut [Panel]) {
    // SAFETY: these are the instructions that the vector needs.
    unsafe { scale::<Wide>(quants, scales, to) }
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

/// Sixteen values at a time. Its operations need the instructions that it is
/// named for.
trait Vector: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: &[f32; LANES]) -> Self;
    /// The same of whole numbers.
    unsafe fn whole(from: &[i8; LANES]) -> Self;
    unsafe fn store(self, to: &mut [f32; LANES]);
    unsafe fn times(self, by: Self) -> Self;
    /// `self + a · b`.
    unsafe fn plus(self, a: Self, b: Self) -> Self;
}

/// What the compiler makes of it.
#[derive(Clone, Copy)]
struct Portable([f32; LANES]);

impl Vector for Portable {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }
    #[inline(always)]
    unsafe fn whole(from: &[i8; LANES]) -> Self {
        Self(from.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    unsafe fn times(mut self, by: Self) -> Self {
        self.0.iter_mut().zip(by.0).for_each(|(value, by)| *value *= by);
        self
    }
    #[inline(always)]
    unsafe fn plus(mut self, a: Self, b: Self) -> Self {
        let factors = a.0.iter().zip(b.0);
        self.0.iter_mut().zip(factors).for_each(|(sum, (a, b))| *sum += a * b);
        self
    }
}

/// Two registers of AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Double(__m256, __m256);

#[cfg(target_arch = "x86_64")]
impl Vector for Double {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        let value = unsafe { _mm256_set1_ps(value) };
        Self(value, value)
    }
    #[inline(always)]
    unsafe fn load(from: &[f32; LANES]) -> Self {
        let at = from.as_ptr();
        unsafe { Self(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
    }
    #[inline(always)]
    unsafe fn whole(from: &[i8; LANES]) -> Self {
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let low = _mm256_cvtepi8_epi32(bytes);
            let high = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes));
            Self(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        let at = to.as_mut_ptr();
        unsafe {
            _mm256_storeu_ps(at, self.0);
            _mm256_storeu_ps(at.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn times(self, by: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, by.0), _mm256_mul_ps(self.1, by.1)) }
    }
    #[inline(always)]
    unsafe fn plus(self, a: Self, b: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }
}

/// One register of AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Wide(__m512);

#[cfg(target_arch = "x86_64")]
impl Vector for Wide {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: &[f32; LANES]) -> Self {
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    unsafe fn whole(from: &[i8; LANES]) -> Self {
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    unsafe fn times(self, by: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, by.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
}

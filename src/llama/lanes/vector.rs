//! Sixteen values in registers, whichever the processor has.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Values in a register of the widest kind there is.
pub const LANES: usize = 16;

/// Sixteen values at a time. Its operations need the instructions that it is
/// named for.
pub trait Vector: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: &[f32; LANES]) -> Self;
    /// The same of whole numbers.
    unsafe fn whole(from: &[i8; LANES]) -> Self;
    unsafe fn store(self, to: &mut [f32; LANES]);
    unsafe fn times(self, by: Self) -> Self;
    unsafe fn sum(self, with: Self) -> Self;
    /// `self + a · b`.
    unsafe fn plus(self, a: Self, b: Self) -> Self;
    /// A number in half precision, which is finite, everywhere.
    unsafe fn half(bits: u16) -> Self;
    /// Numbers in half precision.
    unsafe fn halves(bits: &[u16; LANES]) -> Self;
    /// The values whose numbers are the low halves of bytes.
    unsafe fn low(self, numbers: &[u8; LANES]) -> Self;
    /// The values whose numbers are the high halves of bytes.
    unsafe fn high(self, numbers: &[u8; LANES]) -> Self;
}

/// What the compiler makes of it.
#[derive(Clone, Copy)]
pub struct Portable([f32; LANES]);

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
    unsafe fn sum(mut self, with: Self) -> Self {
        self.0.iter_mut().zip(with.0).for_each(|(value, with)| *value += with);
        self
    }
    #[inline(always)]
    unsafe fn plus(mut self, a: Self, b: Self) -> Self {
        let factors = a.0.iter().zip(b.0);
        self.0.iter_mut().zip(factors).for_each(|(sum, (a, b))| *sum += a * b);
        self
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> Self {
        Self([half(bits); LANES])
    }
    #[inline(always)]
    unsafe fn halves(bits: &[u16; LANES]) -> Self {
        Self(bits.map(half))
    }
    #[inline(always)]
    unsafe fn low(self, numbers: &[u8; LANES]) -> Self {
        Self(numbers.map(|number| self.0[usize::from(number & 15)]))
    }
    #[inline(always)]
    unsafe fn high(self, numbers: &[u8; LANES]) -> Self {
        Self(numbers.map(|number| self.0[usize::from(number >> 4)]))
    }
}

/// The exponent is moved by a product, which is exact for subnormal numbers too.
fn half(bits: u16) -> f32 {
    const EXPONENTS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    let size = f32::from_bits((bits & 0x7fff) << 13) * EXPONENTS;
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

/// Two registers of AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Double(__m256, __m256);

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
    unsafe fn sum(self, with: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, with.0), _mm256_add_ps(self.1, with.1)) }
    }
    #[inline(always)]
    unsafe fn plus(self, a: Self, b: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> Self {
        unsafe { Self::splat(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))) }
    }
    #[inline(always)]
    unsafe fn halves(bits: &[u16; LANES]) -> Self {
        let at: *const __m128i = bits.as_ptr().cast();
        unsafe {
            let (low, high) = (_mm_loadu_si128(at), _mm_loadu_si128(at.add(1)));
            Self(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn low(self, numbers: &[u8; LANES]) -> Self {
        unsafe { Self(self.picked(numbers, 0, 0), self.picked(numbers, 8, 0)) }
    }
    #[inline(always)]
    unsafe fn high(self, numbers: &[u8; LANES]) -> Self {
        unsafe { Self(self.picked(numbers, 0, 4), self.picked(numbers, 8, 4)) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Double {
    /// The values whose numbers are 4 bits, from bit `up` on, of 8 bytes.
    #[inline(always)]
    unsafe fn picked(self, numbers: &[u8; LANES], first: usize, up: i32) -> __m256 {
        unsafe {
            let bytes = _mm_loadl_epi64(numbers[first..].as_ptr().cast());
            let number = _mm256_srlv_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(up));
            // Only the lower three bits count here; the fourth chooses the half.
            let low = _mm256_permutevar8x32_ps(self.0, number);
            let high = _mm256_permutevar8x32_ps(self.1, number);
            _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(number)))
        }
    }
}

/// One register of AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Wide(__m512);

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
    unsafe fn sum(self, with: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, with.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> Self {
        unsafe { Self::splat(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))) }
    }
    #[inline(always)]
    unsafe fn halves(bits: &[u16; LANES]) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) })
    }
    #[inline(always)]
    unsafe fn low(self, numbers: &[u8; LANES]) -> Self {
        unsafe {
            // Only the lower four bits count.
            let numbers = _mm512_cvtepu8_epi32(_mm_loadu_si128(numbers.as_ptr().cast()));
            Self(_mm512_permutexvar_ps(numbers, self.0))
        }
    }
    #[inline(always)]
    unsafe fn high(self, numbers: &[u8; LANES]) -> Self {
        unsafe {
            let numbers = _mm512_cvtepu8_epi32(_mm_loadu_si128(numbers.as_ptr().cast()));
            Self(_mm512_permutexvar_ps(_mm512_srli_epi32::<4>(numbers), self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn halves_are_exact() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            let wanted = half::f16::from_bits(bits).to_f32();
            assert_eq!(super::half(bits).to_bits(), wanted.to_bits());
        }
    }
}

//! How loud a piece of sound is over its length, in the 64 values that WhatsApp shows of a voice message.
//!
//! Takes samples as they come and keeps a bounded number of values, however long the sound is.

use bytes::Bytes;

/// The samples in a second; loudness needs no more.
pub(super) const RATE: u32 = 8_000;
/// The values that WhatsApp shows.
const VALUES: usize = 64;
/// The largest of them.
const VALUE_MAX: f64 = 100.0;
/// The most values that are kept meanwhile. When they are full, each two become one.
const KEPT_MAX: usize = 4_096;

/// The loudness of what was added.
#[derive(Debug)]
pub(super) struct Waveform {
    /// Sums of squares, each of `per_sum` samples but the last.
    sums: Vec<f64>,
    per_sum: u64,
    samples: u64,
    /// The first byte of a sample whose second did not come yet.
    half: Option<u8>,
}

impl Default for Waveform {
    fn default() -> Self {
        Self {
            sums: Vec::new(),
            per_sum: u64::from(RATE) / 100,
            samples: 0,
            half: None,
        }
    }
}

impl Waveform {
    /// Adds samples of 16 bits, the lower byte first.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(low) => self.sample(i16::from_le_bytes([low, byte])),
            }
        }
    }

    fn sample(&mut self, sample: i16) {
        if self.samples.is_multiple_of(self.per_sum) {
            if self.sums.len() == KEPT_MAX {
                self.sums = self.sums.chunks(2).map(|two| two.iter().sum()).collect();
                self.per_sum *= 2;
            }
            self.sums.push(0.0);
        }
        if let Some(sum) = self.sums.last_mut() {
            *sum += f64::from(sample) * f64::from(sample);
        }
        self.samples += 1;
    }

    /// How long it is, rounded, and at least one second.
    pub(super) fn seconds(&self) -> u32 {
        let rate = u64::from(RATE);
        u32::try_from((self.samples + rate / 2) / rate)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// The values, of which the loudest is the largest there is; silence is all zero.
    pub(super) fn values(&self) -> Bytes {
        let loudness: Vec<f64> = (0..VALUES).map(|index| self.loudness(index)).collect();
        let loudest = loudness.iter().copied().fold(0.0, f64::max);
        let value = |loudness: &f64| match loudest {
            0.0 => 0,
            // At most 100.
            loudest => (loudness / loudest * VALUE_MAX).round() as u8,
        };
        loudness.iter().map(value).collect()
    }

    /// The mean of one of the parts, of which each has at least one of the sums.
    fn loudness(&self, index: usize) -> f64 {
        let (count, parts) = (self.sums.len(), VALUES);
        let from = index * count / parts;
        let to = ((index + 1) * count / parts).max(from + 1).min(count);
        let part = self.sums.get(from..to).unwrap_or_default();
        (part.iter().sum::<f64>() / part.len().max(1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waveform(samples: impl IntoIterator<Item = i16>) -> Waveform {
        let mut waveform = Waveform::default();
        let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
        // However the bytes are cut.
        bytes.chunks(7).for_each(|chunk| waveform.add(chunk));
        waveform
    }

    #[test]
    fn it_rises_with_the_sound_and_is_as_long() {
        let rate = RATE as i32;
        let rising = waveform((0..10 * rate).map(|at| (at * 3_000 / rate / 10 * (at % 2 * 2 - 1)) as i16));
        let values = rising.values();
        assert_eq!((rising.seconds(), values.len(), values[63]), (10, 64, 100));
        assert!(
            values[0] < 3 && values.windows(2).all(|two| two[0] <= two[1]),
            "{values:?}"
        );
    }

    #[test]
    fn however_long_it_is_little_is_kept() {
        let long = waveform((0..20 * 60 * RATE as i64).map(|at| if at < 10 * 60 * RATE as i64 { 0 } else { 1_000 }));
        let values = long.values();
        assert!(long.sums.len() <= KEPT_MAX);
        assert_eq!((long.seconds(), values[31], values[32]), (1_200, 0, 100));
    }

    #[test]
    fn silence_and_nothing_are_zero() {
        assert!(waveform([0; 8_000]).values().iter().all(|value| *value == 0));
        assert_eq!(waveform([]).values().len(), 64);
        assert_eq!(waveform([5]).seconds(), 1);
    }
}

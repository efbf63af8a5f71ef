//! Bodies that are stored compressed (LZ4).

use bytes::Bytes;

/// The length of the body and the compressed body; `None` if that saves less than an eighth, or the body is too long.
pub(crate) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok()?;
    if body.len() > MOST {
        return None;
    }
    let mut packed = length.to_le_bytes().to_vec();
    packed.extend(lz4_flex::block::compress(body));
    // Decompressing takes time at each read.
    (packed.len() < body.len() / 8 * 7).then_some(packed)
}

/// The body again; `None` if it is damaged. Reserves no more memory than that many compressed bytes can stand for.
pub(crate) fn decompress(packed: &[u8]) -> Option<Bytes> {
    let (length, packed) = packed.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MOST || length > packed.len().saturating_mul(BEST_RATIO) {
        return None;
    }
    let body = lz4_flex::block::decompress(packed, length).ok()?;
    (body.len() == length).then(|| body.into())
}

/// The longest body that is compressed.
const MOST: usize = 64 << 20;
/// The most bytes that one byte of LZ4 stands for.
const BEST_RATIO: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_get_smaller_is_left_alone() {
        assert!(compress(b"").is_none());
        assert!(compress(b"short").is_none());
        let noise: Vec<u8> = (0..1000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        assert!(compress(&noise).is_none());
    }

    #[test]
    fn a_bomb_is_refused_before_memory_is_taken() {
        let mut bomb = u32::MAX.to_le_bytes().to_vec();
        bomb.extend([0; 100]);
        assert_eq!(decompress(&bomb), None);
        let mut bomb = (60u32 << 20).to_le_bytes().to_vec();
        bomb.extend([0; 100]);
        assert_eq!(decompress(&bomb), None);
        // A length that is less than that of the body.
        let mut packed = compress(&[0; 10_000]).expect("packed");
        packed[..4].copy_from_slice(&100u32.to_le_bytes());
        assert_eq!(decompress(&packed), None);
    }

    proptest! {
        #[test]
        fn a_body_is_read_as_written(unit in proptest::collection::vec(any::<u8>(), 1..20), times in 1usize..500) {
            let body = unit.repeat(times);
            if let Some(packed) = compress(&body) {
                prop_assert!(packed.len() < body.len());
                prop_assert_eq!(decompress(&packed), Some(Bytes::from(body)));
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decompress(&bytes);
        }
    }
}

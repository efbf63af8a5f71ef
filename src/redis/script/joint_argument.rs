//! The argument of a script that does for many what another one does for one.

use bytes::Bytes;

/// What one caller wants of a script: something of its own, under numbers and a text that others may have too.
#[derive(Debug)]
pub(crate) struct Part {
    key: Bytes,
    own: [u8; 8],
    common: Box<[u8]>,
}

/// One run for many.
#[derive(Debug)]
pub(crate) struct Joint {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) argument: Vec<u8>,
    /// Which part each number of the reply is for.
    pub(crate) places: Vec<usize>,
}

impl Part {
    /// `head` is four doubles, the first of them the caller's own.
    pub(crate) fn new(key: &Bytes, head: &[u8; 32], text: &[u8]) -> Self {
        let mut own = [0; 8];
        own.copy_from_slice(&head[..8]);
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let text = &text[..usize::from(length)];
        let common = [&head[8..], &length.to_le_bytes(), text].concat();
        Self {
            key: key.clone(),
            own,
            common: common.into(),
        }
    }
}

impl Joint {
    /// Parts of one key stay in their order, one after another.
    pub(crate) fn of(parts: &[Part]) -> Self {
        let mut places: Vec<usize> = (0..parts.len()).collect();
        places.sort_by(|one, other| parts[*one].key.cmp(&parts[*other].key));
        let mut keys: Vec<Bytes> = Vec::new();
        let mut argument = Vec::with_capacity(64 * parts.len());
        let is_same = |one: &usize, other: &usize| {
            let (one, other) = (&parts[*one], &parts[*other]);
            one.key == other.key && one.common == other.common
        };
        for group in places.chunk_by(is_same) {
            let first = &parts[group[0]];
            if keys.last() != Some(&first.key) {
                keys.push(first.key.clone());
            }
            for number in [keys.len(), group.len()] {
                // A run has far fewer parts than that.
                let number = u16::try_from(number).unwrap_or(u16::MAX);
                argument.extend_from_slice(&number.to_le_bytes());
            }
            argument.extend_from_slice(&first.common);
            for place in group {
                argument.extend_from_slice(&parts[*place].own);
            }
        }
        Self {
            keys,
            argument,
            places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: &'static str, own: u8, other: u8) -> Part {
        let mut head = [other; 32];
        head[..8].fill(own);
        Part::new(&Bytes::from_static(key.as_bytes()), &head, b"text")
    }

    #[test]
    fn parts_with_the_same_key_and_numbers_are_a_group_in_their_order() {
        let parts = [
            part("b", 1, 7),
            part("a", 2, 7),
            part("b", 3, 7),
            part("b", 4, 8),
            part("b", 5, 7),
        ];
        let joint = Joint::of(&parts);
        assert_eq!(joint.keys, ["a", "b"]);
        assert_eq!(joint.places, [1, 0, 2, 3, 4]);
        let mut expected = Vec::new();
        for (key, other, owns) in [
            (1, 7, &[2][..]),
            (2, 7, &[1, 3]),
            (2, 8, &[4]),
            (2, 7, &[5]),
        ] {
            expected.extend([key, 0, owns.len() as u8, 0]);
            expected.extend([other; 24]);
            expected.extend(*b"\x04\x00text");
            expected.extend(owns.iter().flat_map(|own| [*own; 8]));
        }
        assert_eq!(joint.argument, expected);
    }
}

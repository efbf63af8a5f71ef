//! Writing the entries that [`decode`](super::decode) reads.

use bytes::{Bytes, BytesMut};

#[cfg(feature = "compression")]
use super::compression::compress;
use super::{
    checksum::{LETTERS, VERSION, checksum},
    decode::{Head, LEASE, MOST_LINES, PACKED, PRELUDE, RESPONSE, VALUE, VARIANTS, Variants},
    key::Digest,
    lifetime::Life,
};

/// Writes an entry piece by piece: the body of a response comes in frames.
#[derive(Debug)]
pub(crate) struct Writer {
    blob: BytesMut,
    body_at: usize,
}

impl Writer {
    /// Begins a response with everything but its body; `None` when a field is too long or there are too many.
    pub(crate) fn response(head: &Head, digest: &Digest) -> Option<Self> {
        let mut writer = Self::new(RESPONSE, digest);
        writer.life(&head.life);
        writer.push(&head.status.as_u16().to_le_bytes());
        let lines = u16::try_from(head.headers.len()).ok()?;
        writer.push(&(lines <= MOST_LINES).then_some(lines)?.to_le_bytes());
        for (name, value) in &head.headers {
            writer.short(name.as_str().as_bytes());
            writer.push(&u32::try_from(value.len()).ok()?.to_le_bytes());
            writer.push(value.as_bytes());
        }
        writer.body_at = writer.blob.len();
        Some(writer)
    }

    /// The value of a memo.
    pub(crate) fn value(
        life: &Life,
        value: &[u8],
        digest: &Digest,
        pack_above: Option<usize>,
    ) -> Bytes {
        let mut writer = Self::new(VALUE, digest);
        writer.life(life);
        writer.body_at = writer.blob.len();
        writer.push(value);
        writer.pack(pack_above);
        writer.finish()
    }

    /// A lease, which its `token` tells from every other.
    pub(crate) fn lease(token: &[u8; 8], digest: &Digest) -> Bytes {
        let mut writer = Self::new(LEASE, digest);
        writer.life(&Life::default());
        writer.push(token);
        writer.finish()
    }

    pub(crate) fn new(kind: u8, digest: &Digest) -> Self {
        let mut blob = BytesMut::with_capacity(512);
        blob.extend_from_slice(LETTERS);
        blob.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0, 0, kind]);
        blob.extend_from_slice(digest.as_bytes());
        Self {
            blob,
            body_at: PRELUDE,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.blob.extend_from_slice(bytes);
    }

    /// The length of what was pushed of the body.
    pub(crate) fn body_len(&self) -> usize {
        self.blob.len() - self.body_at
    }

    /// What was pushed of the body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.blob[self.body_at..]
    }

    /// What was pushed of the body, without the rest of the entry.
    pub(crate) fn into_body(mut self) -> Bytes {
        self.blob.split_off(self.body_at).freeze()
    }

    /// Compresses a complete body if it is longer than `above` and gets small enough; gives the body as it was then.
    /// Nothing may be pushed afterwards.
    pub(crate) fn pack(&mut self, above: Option<usize>) -> Option<Bytes> {
        if above.is_none_or(|above| self.body_len() <= above) {
            return None;
        }
        let packed = compress(self.body())?;
        let body = self.blob.split_off(self.body_at).freeze();
        self.push(&packed);
        self.blob[11] |= PACKED;
        Some(body)
    }

    /// The entry, with its body compressed as by [`pack`](Self::pack), and the body as it was pushed.
    pub(crate) fn finish_both(mut self, pack_above: Option<usize>) -> (Bytes, Bytes) {
        let body_at = self.body_at;
        let unpacked = self.pack(pack_above);
        let blob = self.finish();
        let body = unpacked.unwrap_or_else(|| blob.slice(body_at..));
        (blob, body)
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let sum = checksum(&self.blob[11..]);
        self.blob[3..11].copy_from_slice(&sum);
        self.blob.freeze()
    }

    /// Tags beyond 65,535 are left out: whatever gives an entry its tags must give it fewer.
    fn life(&mut self, life: &Life) {
        for number in [
            life.born_ms,
            life.lifetime_ms,
            life.initial_age_ms,
            life.swr_ms,
            life.sie_ms,
            life.keep_ms,
            life.cost_ms,
            life.seq.epoch,
            life.seq.count,
        ] {
            self.push(&number.to_le_bytes());
        }
        self.push(&life.seq.token);
        self.push(&[u8::from(life.is_told)]);
        let tags = &life.tags[..life.tags.len().min(usize::from(u16::MAX))];
        self.push(&(tags.len() as u16).to_le_bytes());
        for tag in tags {
            self.push(&tag.0.to_le_bytes());
        }
    }

    /// A field name: `http` allows at most 65,535 bytes.
    fn short(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
        self.push(&(bytes.len() as u16).to_le_bytes());
        self.push(bytes);
    }
}

impl Variants {
    pub(crate) fn encode(&self, digest: &Digest) -> Bytes {
        let life = Life {
            seq: self.seq,
            ..Life::default()
        };
        let mut writer = Writer::new(VARIANTS, digest);
        writer.life(&life);
        writer.push(&self.generation);
        for name in &self.names {
            writer.short(name.as_str().as_bytes());
        }
        writer.finish()
    }
}

#[cfg(not(feature = "compression"))]
fn compress(_: &[u8]) -> Option<Vec<u8>> {
    None
}

//! The forms in which a value can be stored, and the first byte that tells them apart.

/// How new values are encoded. A stored value is decoded by its first byte, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    #[cfg(feature = "messagepack")]
    MessagePack,
}

/// The first byte of a value in `MessagePack`.
pub(crate) const MESSAGE_PACK: u8 = 1;
/// The first byte of a sealed value.
pub(crate) const SEALED: u8 = 2;

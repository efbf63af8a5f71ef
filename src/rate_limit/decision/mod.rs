//! What was decided, and how clients are told: the numbers of the algorithms come in, header fields and bodies go out.
//! Pure: no Redis, no runtime, no clock.
//! All rooms above import it.

#[expect(
    clippy::module_inception,
    reason = "the file of the type that the room is named for"
)]
pub(crate) mod decision;
pub(crate) mod headers;
pub(crate) mod place_body;
pub(crate) mod places;
pub(crate) mod problem;
pub(crate) mod standing;

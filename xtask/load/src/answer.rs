//! An answer as far as it came.

/// The largest body that is kept, in bytes; a larger one is judged as a fault and not held in memory.
pub const LARGEST_BODY: usize = 4 << 20;

/// An answer as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `content-type`, empty where there is none.
    pub content_type: String,
    /// The body, of at most [`LARGEST_BODY`] bytes and one more that tells that it was larger.
    pub body: Vec<u8>,
    /// Whether the connection carried the body to its end, as its length or its chunks say.
    pub is_whole: bool,
}

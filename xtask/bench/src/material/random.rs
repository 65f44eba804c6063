//! Text that is the same in each run, and of no use to anybody: what secrets are made of here.

/// Letters of both cases and digits.
pub const ALPHANUMERIC: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// What base64 is written with.
pub const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What base64 for addresses is written with.
pub const BASE64_URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Digits of hexadecimal numbers.
pub const HEX: &str = "0123456789abcdef";
/// Large letters and the digits of base32.
pub const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A generator with a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same text.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One of them.
    pub fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }

    /// So many characters of an alphabet of ASCII.
    pub fn text(&mut self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        (0..length).map(|_| char::from(letters[self.below(letters.len())])).collect()
    }

    /// Letters and digits.
    pub fn word(&mut self, length: usize) -> String {
        self.text(ALPHANUMERIC, length)
    }

    /// Hexadecimal digits.
    pub fn hex(&mut self, length: usize) -> String {
        self.text(HEX, length)
    }

    /// In the shape of RFC 9562.
    pub fn uuid(&mut self) -> String {
        let [a, b, c, d, e] = [8, 4, 3, 3, 12].map(|length| self.hex(length));
        format!("{a}-{b}-4{c}-a{d}-{e}")
    }

    /// Lines of base64, as in a file of the PEM family.
    pub fn lines(&mut self, count: usize, separator: &str) -> String {
        (0..count).map(|_| self.text(BASE64, 64)).collect::<Vec<_>>().join(separator)
    }
}

/// base64 with padding (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    let letters = BASE64.as_bytes();
    let group = |chunk: &[u8]| {
        let bits = (0..3).fold(0_usize, |bits, at| (bits << 8) | usize::from(chunk.get(at).copied().unwrap_or(0)));
        let letter = |at: usize| {
            if at > chunk.len() { '=' } else { char::from(letters[(bits >> (18 - 6 * at)) & 63]) }
        };
        [letter(0), letter(1), letter(2), letter(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text() {
        let [mut one, mut other] = [Random::new(7), Random::new(7)];
        assert_eq!(one.word(40), other.word(40));
        assert_ne!(one.word(40), one.word(40));
        assert_eq!(one.uuid().len(), 36);
    }
}

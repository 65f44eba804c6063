//! As much of DER (X.690) and of X.509 (RFC 5280) as a certificate authority for tests needs.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// A P-256 key that signs.
pub struct Key {
    pair: EcdsaKeyPair,
    /// The public key as a SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

impl Key {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let algorithm = seq(&[oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")]);
        let spki = seq(&[algorithm, bits(pair.public_key().as_ref())]);
        Self { pair, spki }
    }

    /// ECDSA with SHA-256, in ASN.1.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut all = vec![tag];
    match length {
        0..128 => all.push(length as u8),
        128..256 => all.extend([0x81, length as u8]),
        _ => all.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    all.extend(content);
    all
}

pub fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

pub fn oid(dotted: &str) -> Vec<u8> {
    let numbers: Vec<u64> = dotted.split('.').map(|number| number.parse().unwrap()).collect();
    let mut content = Vec::new();
    for number in std::iter::once(numbers[0] * 40 + numbers[1]).chain(numbers[2..].iter().copied()) {
        let mut groups = vec![(number & 0x7f) as u8];
        let mut rest = number >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        groups.reverse();
        content.extend(groups);
    }
    der(0x06, &content)
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    der(0x04, content)
}

pub fn utf8(text: &str) -> Vec<u8> {
    der(0x0c, text.as_bytes())
}

fn bits(content: &[u8]) -> Vec<u8> {
    der(0x03, &[&[0], content].concat())
}

fn generalized_time(seconds: i64) -> Vec<u8> {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let (date, clock) = (time.date(), time.time());
    let year = date.year() % 100;
    let month = u8::from(date.month());
    let (day, hour, minute, second) = (date.day(), clock.hour(), clock.minute(), clock.second());
    // UTCTime, for dates before 2050.
    der(0x17, format!("{year:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z").as_bytes())
}

/// An extension.
pub fn extension(id: &str, is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { der(0x01, &[0xff]) } else { vec![] };
    seq(&[oid(id), critical, octets(value)])
}

/// A name with an organisation and a common name; with nothing where there is none.
pub fn name(common: Option<&str>) -> Vec<u8> {
    let part = |id: &str, text: &str| der(0x31, &seq(&[oid(id), utf8(text)]));
    seq(&common.map(|text| vec![part("2.5.4.10", "test"), part("2.5.4.3", text)]).unwrap_or_default())
}

/// What is in a certificate.
pub struct Certificate<'a> {
    pub serial: u8,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub spki: &'a [u8],
    /// Seconds since 1970.
    pub valid: (i64, i64),
    pub extensions: Vec<Vec<u8>>,
}

impl Certificate<'_> {
    /// The part that is signed.
    pub fn tbs(&self) -> Vec<u8> {
        seq(&[
            der(0xa0, &der(0x02, &[2])),
            der(0x02, &[self.serial]),
            algorithm(),
            self.issuer.clone(),
            seq(&[generalized_time(self.valid.0), generalized_time(self.valid.1)]),
            self.subject.clone(),
            self.spki.to_vec(),
            der(0xa3, &seq(&self.extensions)),
        ])
    }

    pub fn signed(&self, by: &Key) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = bits(&by.sign(&tbs));
        seq(&[tbs, algorithm(), signature])
    }
}

/// ecdsa-with-SHA256
fn algorithm() -> Vec<u8> {
    seq(&[oid("1.2.840.10045.4.3.2")])
}

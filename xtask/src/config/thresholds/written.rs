//! How thresholds are written in a file: a table of metrics, each with its list. A mistake leads to its own line.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Metric, Threshold, Thresholds};

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The list of one metric, or one threshold alone.
struct Of<'a>(&'a Metric);

impl<'de> DeserializeSeed<'de> for Of<'_> {
    type Value = Vec<Threshold>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

/// One text, so that a mistake in it leads to its own line.
struct One<'a>(&'a Metric);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Threshold;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Threshold, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for One<'_> {
    type Value = Threshold;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a threshold like `p(95)<1000`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Threshold, E> {
        Threshold::parse(self.0, text).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Of<'_> {
    type Value = Vec<Threshold>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of thresholds like `p(95)<1000`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![Threshold::parse(self.0, text).map_err(E::custom)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element_seed(One(self.0))? {
            all.push(one);
        }
        if all.is_empty() { Err(A::Error::custom(format!("`{}` has no threshold", self.0))) } else { Ok(all) }
    }
}

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Thresholds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of metrics, each with its thresholds")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Thresholds, A::Error> {
                let mut all = Vec::new();
                while let Some(metric) = map.next_key::<Metric>()? {
                    all.extend(map.next_value_seed(Of(&metric))?);
                }
                Ok(Thresholds(all))
            }
        }
        from.deserialize_map(All)
    }
}

impl Serialize for Thresholds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for group in self.0.chunk_by(|a, b| a.metric == b.metric) {
            let texts: Vec<&str> = group.iter().map(|threshold| threshold.text.as_str()).collect();
            map.serialize_entry(&group[0].metric.to_string(), &texts)?;
        }
        map.end()
    }
}

//! JSON objects in which no name stands twice, at any depth: two readers of such a text could believe two things.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::denial::Denial;

/// What an error of ours begins with.
const TWICE: &str = "twice: ";

/// The object of a text.
///
/// # Errors
/// [`Denial::Twice`], or [`Denial::Malformed`] for what is no object.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, Denial> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Denial::Malformed("a part is no JSON object")),
        Err(error) => {
            let said = error.to_string();
            // What serde adds is the place.
            let name = said.strip_prefix(TWICE).map(|rest| rest.rsplit_once(" at line").map_or(rest, |(name, _)| name));
            Err(name.map_or(Denial::Malformed("a part is no JSON"), |name| Denial::Twice(name.to_owned())))
        }
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{TWICE}{name}")));
            }
            object.insert(name, map.next_value_seed(Strict)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_with_a_name_twice_is_refused_at_any_depth() {
        for (text, name) in [
            (r#"{"exp":1,"exp":2}"#, "exp"),
            (r#"{"a":[{"b":{"c":1,"c":1}}]}"#, "c"),
            (r#"{"exp":1,"\u0065xp":2}"#, "exp"),
        ] {
            assert_eq!(object(text.as_bytes()), Err(Denial::Twice(name.to_owned())), "{text}");
        }
    }

    #[test]
    fn object_that_is_one_is_what_serde_reads() {
        let text = r#"{"a":[1,-2,1.5,null,true,"x"],"b":{"c":18446744073709551615}}"#;
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), text.parse::<Value>().unwrap());
        for text in ["", "[]", "1", "{", "{} x", "{\"a\":1,}", "\"a\"", "\u{fe}"] {
            assert!(matches!(object(text.as_bytes()), Err(Denial::Malformed(_))), "{text}");
        }
        let deep = "[".repeat(5000);
        assert!(
            matches!(object(format!("{{\"a\":{deep}").as_bytes()), Err(Denial::Malformed(_))),
            "and no stack is lost"
        );
    }
}

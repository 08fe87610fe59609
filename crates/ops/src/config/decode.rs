//! serde over a [`Node`]: an error knows the innermost value it is about.

use super::node::{Node, Value};
use super::problem::{At, Problem};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a `T` out of `node`.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(node: &Node) -> Result<T, Box<Problem>> {
    T::deserialize(Reader(node)).map_err(|failed| {
        let at = failed.at.unwrap_or_else(|| node.at.clone());
        Box::new(Problem::error("E0104", "a value cannot be read").at(&at).label(failed.message))
    })
}

#[derive(Debug)]
struct Failed {
    message: String,
    at: Option<At>,
}

impl Failed {
    fn or_at(mut self, at: &At) -> Self {
        self.at.get_or_insert_with(|| at.clone());
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Failed { message: message.to_string(), at: None }
    }
}

#[derive(Clone, Copy)]
struct Reader<'n>(&'n Node);

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let done = match &self.0.value {
            Value::Text(text) | Value::Date(text) => visitor.visit_str(text),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::List(list) => visitor.visit_seq(Items(list.iter())),
            Value::Table(fields) => visitor.visit_map(Fields { rest: fields.iter(), value: None }),
        };
        done.map_err(|failed| failed.or_at(&self.0.at))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let done = match &self.0.value {
            Value::Text(text) => {
                let plain: StrDeserializer<'_, Failed> = text.as_str().into_deserializer();
                plain.deserialize_enum(name, variants, visitor)
            }
            Value::Table(fields) => {
                visitor.visit_enum(MapAccessDeserializer::new(Fields { rest: fields.iter(), value: None }))
            }
            _ => Err(de::Error::custom(format!("expected a string, found {}", self.0.type_name()))),
        };
        done.map_err(|failed| failed.or_at(&self.0.at))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failed;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        self.0.next().map(|node| seed.deserialize(Reader(node))).transpose()
    }
}

struct Fields<'n> {
    rest: std::slice::Iter<'n, super::node::Field>,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        let Some(field) = self.rest.next() else { return Ok(None) };
        self.value = Some(&field.node);
        let key: StrDeserializer<'_, Failed> = field.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|failed| failed.or_at(&field.key_at))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failed> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a key without a value"))?;
        seed.deserialize(Reader(node))
    }
}

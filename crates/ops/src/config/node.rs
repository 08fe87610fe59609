//! A configuration as a tree in which every value knows where it was written.

use super::problem::{At, FileText, Problem};
use serde_json::{Map, Value as Json};
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{Document, Item, TableLike, Value as TomlValue};

/// Deepest nesting that any table of the schema needs, twice over.
const DEPTH_MAX: usize = 16;

/// A value with its origin.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub at: At,
    /// The text before variables were filled in, where that changed it.
    pub raw: Option<String>,
}

/// What a TOML file can say. Dates are kept as text: no key of this version takes one.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A date or time, as written.
    Date(String),
    /// An array.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<Field>),
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct Field {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub key_at: At,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The fields of a table, nothing for anything else.
    pub fn fields(&self) -> &[Field] {
        if let Value::Table(fields) = &self.value { fields } else { &[] }
    }

    /// The value of `key`, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.field(key).map(|field| &field.node)
    }

    /// The field `key`, if this is a table that has it.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.key == key)
    }

    /// The node at a dotted path of keys.
    pub fn at_path(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Where the key at a dotted path is written, or the nearest table above it that exists.
    pub fn place(&self, path: &[&str]) -> At {
        let mut node = self;
        let mut at = self.at.clone();
        for key in path {
            let Some(field) = node.field(key) else { break };
            node = &field.node;
            at = if matches!(node.value, Value::Table(_)) { node.at.clone() } else { field.key_at.clone() };
        }
        at
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// What it is, for "expected a string, found ...".
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// A table with only the fields for which `keep` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Node {
        let fields = self.fields().iter().filter(|f| keep(&f.key)).cloned().collect();
        Node { value: Value::Table(fields), ..self.clone() }
    }

    /// Lays `over` over this: tables join key by key, everything else is replaced whole.
    pub fn overlay(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for field in theirs {
                    match mine.iter_mut().find(|f| f.key == field.key) {
                        Some(found) => {
                            let both = matches!(found.node.value, Value::Table(_))
                                && matches!(field.node.value, Value::Table(_));
                            if !both {
                                found.key_at = field.key_at;
                            }
                            found.node.overlay(field.node);
                        }
                        None => mine.push(field),
                    }
                }
            }
            (_, value) => *self = Node { value, at: over.at, raw: over.raw },
        }
    }

    /// The tree without origins; keys sorted, so that its text is canonical.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Text(text) | Value::Date(text) => Json::from(text.as_str()),
            Value::Integer(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::Bool(b) => Json::from(*b),
            Value::List(list) => list.iter().map(Node::to_json).collect(),
            Value::Table(fields) => {
                let mut sorted: Vec<&Field> = fields.iter().collect();
                sorted.sort_by(|a, b| a.key.cmp(&b.key));
                Json::Object(sorted.iter().map(|f| (f.key.clone(), f.node.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads the TOML text of `file`.
///
/// # Errors
/// One problem: the first mistake in the syntax, or nesting beyond all reason.
pub fn parse(file: &Arc<FileText>) -> Result<Node, Box<Problem>> {
    let document = Document::parse(file.text.as_str()).map_err(|cause| Box::new(syntax(file, &cause)))?;
    table(document.as_table(), 0..0, file, 0)
}

fn syntax(file: &Arc<FileText>, cause: &toml_edit::TomlError) -> Problem {
    let span = cause.span().unwrap_or(0..0);
    let message = cause.message().lines().next().unwrap_or("it is not TOML").to_owned();
    Problem::error("E0101", "the file is not valid TOML")
        .at(&At { file: file.clone(), span })
        .label(message)
        .hint("TOML 1.0 is described on https://toml.io/en/v1.0.0")
}

fn item(
    item: &Item,
    key_span: Range<usize>,
    file: &Arc<FileText>,
    depth: usize,
) -> Result<Node, Box<Problem>> {
    match item {
        Item::None => table(&toml_edit::Table::new(), key_span, file, depth),
        Item::Value(v) => value(v, key_span, file, depth),
        Item::Table(t) => {
            // The span of a table is its header; one that exists only through its children has none.
            let span = t.span().map(|span| header(&span, file)).unwrap_or(key_span);
            table(t, span, file, depth)
        }
        Item::ArrayOfTables(tables) => {
            let span = tables.span().unwrap_or(key_span);
            let at = At { file: file.clone(), span: header(&span, file) };
            let list = tables.iter().map(|t| {
                let span = t.span().map(|s| header(&s, file)).unwrap_or_else(|| span.clone());
                table(t, span, file, depth + 1)
            });
            Ok(Node { value: Value::List(list.collect::<Result<_, _>>()?), at, raw: None })
        }
    }
}

/// The first line of a span: a table may claim its whole body.
fn header(span: &Range<usize>, file: &FileText) -> Range<usize> {
    let text = file.text.get(span.clone()).unwrap_or_default();
    span.start..span.start + text.find('\n').unwrap_or(text.len())
}

fn value(
    v: &TomlValue,
    key_span: Range<usize>,
    file: &Arc<FileText>,
    depth: usize,
) -> Result<Node, Box<Problem>> {
    let span = v.span().unwrap_or(key_span);
    let at = At { file: file.clone(), span: span.clone() };
    let value = match v {
        TomlValue::String(s) => Value::Text(s.value().clone()),
        TomlValue::Integer(n) => Value::Integer(*n.value()),
        TomlValue::Float(n) => Value::Float(*n.value()),
        TomlValue::Boolean(b) => Value::Bool(*b.value()),
        TomlValue::Datetime(d) => Value::Date(d.value().to_string()),
        TomlValue::Array(list) => {
            too_deep(depth, &at)?;
            let items = list.iter().map(|v| value(v, span.clone(), file, depth + 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        TomlValue::InlineTable(t) => return table(t, span, file, depth),
    };
    Ok(Node { value, at, raw: None })
}

fn table(
    t: &dyn TableLike,
    span: Range<usize>,
    file: &Arc<FileText>,
    depth: usize,
) -> Result<Node, Box<Problem>> {
    let at = At { file: file.clone(), span };
    too_deep(depth, &at)?;
    let mut fields = vec![];
    for (key, found) in t.iter() {
        let key_span = t.key(key).and_then(toml_edit::Key::span).unwrap_or_else(|| at.span.clone());
        fields.push(Field {
            key: key.to_owned(),
            key_at: At { file: file.clone(), span: key_span.clone() },
            node: item(found, key_span, file, depth + 1)?,
        });
    }
    Ok(Node { value: Value::Table(fields), at, raw: None })
}

fn too_deep(depth: usize, at: &At) -> Result<(), Box<Problem>> {
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    Err(Box::new(
        Problem::error("E0108", "the file is nested too deeply")
            .at(at)
            .label(format!("more than {DEPTH_MAX} levels"))
            .hint("no key of recoup.toml needs this; take it out"),
    ))
}

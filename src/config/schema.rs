//! The tables as JSON Schema, for editors.
//!
//! Invariant: what the schema refuses, `check` refuses too. (The reverse cannot hold: a schema knows no references.)

use serde_json::{Map, Value, json};

use super::keys::ROOT;
use super::shape::{Key, Kind, Need, Shape, Word};

/// A JSON Schema (2020-12) of the configuration file.
pub fn schema() -> Value {
    let mut root = table(ROOT, &[]);
    if let Some(root) = root.as_object_mut() {
        root.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".to_owned(), json!("logferry configuration"));
        root.insert("patternProperties".to_owned(), json!({ "^x-": {} }));
    }
    root
}

fn table(keys: &[Key], more: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in more {
        properties.insert((*name).to_owned(), schema.clone());
        required.push(json!(name));
    }
    for key in keys {
        properties.insert(key.name.to_owned(), property(key));
        if key.need == Need::Required {
            required.push(json!(key.name));
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let schema = value(&key.shape);
    let nullable = matches!(key.need, Need::Optional | Need::DefaultOrOff(_));
    let mut schema = if nullable {
        json!({ "anyOf": [schema, { "type": "null" }] })
    } else {
        schema
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(key.doc));
        if let Need::Default(text) | Need::DefaultOrOff(text) = key.need {
            object.insert("default".to_owned(), default(&key.shape, text));
        }
    }
    schema
}

fn default(shape: &Shape, text: &str) -> Value {
    match shape {
        Shape::Switch => json!(text == "true"),
        Shape::Count { .. } => text
            .parse::<u64>()
            .map_or(json!(text), |number| json!(number)),
        _ => json!(text),
    }
}

/// A text in which `${NAME}` may stand for anything.
const EXPANDED: &str = r"\$\{";

fn value(shape: &Shape) -> Value {
    let pattern =
        |pattern: &str| json!({ "type": "string", "pattern": format!("^({pattern})$|{EXPANDED}") });
    match shape {
        Shape::Text => json!({ "type": ["string", "number", "boolean"], "minLength": 1 }),
        Shape::TextOrEmpty => json!({ "type": ["string", "number", "boolean"] }),
        Shape::TextOrTexts => json!({
            "anyOf": [value(&Shape::TextOrEmpty), value(&Shape::Texts { least: 1 })],
        }),
        Shape::Switch => {
            json!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": EXPANDED }] })
        }
        Shape::Count { least, most } => json!({
            "anyOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string", "pattern": format!(r"^\d+$|{EXPANDED}") },
            ],
        }),
        Shape::Duration { word, .. } => {
            let duration = r"(\d+(us|ms|s|m|h|d|w))+|0";
            let text = match word {
                Some(word) => pattern(&format!("{duration}|{word}")),
                None => pattern(duration),
            };
            json!({ "anyOf": [text, { "const": 0 }] })
        }
        Shape::DurationOrWords { words, .. } => {
            pattern(&format!(r"(\d+(us|ms|s|m|h|d|w))+|{}", words.join("|")))
        }
        Shape::Size { .. } => {
            json!({ "anyOf": [pattern(r"\d+([kKMGT]?B|[KMGT]iB)|0"), { "const": 0 }] })
        }
        Shape::Percent => pattern(r"\d{1,3}(\.\d{1,2})?%"),
        Shape::Mode => json!({ "anyOf": [pattern("(0o)?[0-7]{3,4}"), { "type": "integer" }] }),
        Shape::Address => pattern(r".+:\d+"),
        Shape::Secret => json!({
            "anyOf": [
                { "type": ["string", "number", "boolean"], "minLength": 1 },
                reference("file", "Path of a file that holds it."),
                reference("env", "Environment variable that holds it."),
                reference("credential", "systemd credential that holds it."),
            ],
        }),
        Shape::Word(words) => choice(words),
        Shape::WordOrTable(words, keys) => json!({ "anyOf": [choice(words), table(keys, &[])] }),
        Shape::Texts { least } => json!({
            "type": "array",
            "minItems": least,
            "items": { "type": ["string", "number", "boolean"], "minLength": 1 },
        }),
        Shape::Brokers => json!({
            "anyOf": [
                { "const": "embedded" },
                { "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 } },
                { "type": "string", "pattern": EXPANDED },
            ],
        }),
        Shape::Listen => json!({
            "anyOf": [
                { "const": "systemd" },
                { "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 } },
                { "type": "string", "pattern": EXPANDED },
            ],
        }),
        Shape::Partitions => json!({
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": {
                    "anyOf": [
                        { "type": "integer", "minimum": 0, "maximum": i32::MAX },
                        { "type": "string", "pattern": format!(r"^\d+$|{EXPANDED}") },
                    ],
                },
            },
        }),
        Shape::Options => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Shape::Names(of) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$" },
            "additionalProperties": value(of),
        }),
        Shape::Table(keys) => table(keys, &[]),
        Shape::Kinds(kinds) => {
            json!({ "oneOf": kinds.iter().filter_map(kind).collect::<Vec<_>>() })
        }
        // The values that change nothing: the off value, an empty list, a map without values.
        Shape::Later(off) => json!({
            "anyOf": [
                { "enum": off },
                { "type": "array", "maxItems": 0 },
                { "type": "object", "additionalProperties": { "type": "null" } },
            ],
        }),
    }
}

fn kind(kind: &Kind) -> Option<Value> {
    let tag = json!({ "const": kind.name, "description": kind.doc });
    Some(table(kind.keys?, &[("type", tag)]))
}

fn reference(name: &str, doc: &str) -> Value {
    json!({
        "type": "object",
        "properties": { name: { "type": "string", "minLength": 1, "description": doc } },
        "required": [name],
        "additionalProperties": false,
    })
}

/// The words of this version; a word that reads as a number may be written as one.
fn choice(words: &[Word]) -> Value {
    let mut values = Vec::new();
    for word in words.iter().filter(|word| word.built) {
        values.push(json!(word.text));
        if let Ok(number) = word.text.parse::<i64>() {
            values.push(json!(number));
        }
    }
    json!({ "anyOf": [{ "enum": values }, { "type": "string", "pattern": EXPANDED }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits every table with the schemas of its properties.
    fn compare(keys: &[Key], schema: &Value, seen: &mut usize) {
        let properties = schema["properties"].as_object().unwrap();
        for key in keys {
            let property = properties
                .get(key.name)
                .unwrap_or_else(|| panic!("{} is missing", key.name));
            assert!(property["description"].is_string(), "{}", key.name);
            *seen += 1;
            let inner = |at: usize| &property["anyOf"][at];
            match (&key.shape, key.need) {
                (Shape::Table(keys), Need::Required) => compare(keys, property, seen),
                (Shape::Table(keys), _) => compare(keys, inner(0), seen),
                (Shape::Names(Shape::Table(keys)), _) => {
                    compare(keys, &inner(0)["additionalProperties"], seen);
                }
                (Shape::Kinds(kinds), _) => {
                    let built = kinds.iter().filter_map(|kind| kind.keys);
                    for (keys, schema) in built.zip(property["oneOf"].as_array().unwrap()) {
                        compare(keys, schema, seen);
                    }
                }
                (Shape::WordOrTable(_, keys), _) => compare(keys, inner(1), seen),
                _ => {}
            }
        }
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn every_key_of_the_tables_stands_in_the_schema() {
        let mut seen = 0;
        compare(ROOT, &schema(), &mut seen);
        assert!(seen > 80, "{seen}");
    }
}

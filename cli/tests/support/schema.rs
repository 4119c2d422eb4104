//! Checks events against `docs/events.schema.json`: the part of JSON Schema that the file uses, and no more.

use serde_json::{Map, Value};

pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn load() -> Schema {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.schema.json");
        Schema(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// Fails with what is wrong with an event. A field that the schema does not describe is wrong too: it would be
    /// undocumented.
    pub(crate) fn check(&self, event: &Value) -> Result<(), String> {
        let name = event["event"].as_str().ok_or("no event")?;
        let kinds = self.0["oneOf"].as_array().ok_or("no kinds")?;
        let kind = kinds.iter().find(|kind| kind["properties"]["event"]["const"] == name);
        let kind = kind.ok_or(format!("unknown event {name}"))?;
        let mut fields = event.as_object().ok_or("no object")?.clone();
        self.object(&self.0, &fields, false)?;
        for common in ["schema", "time"] {
            fields.remove(common);
        }
        self.object(kind, &fields, true)
    }

    fn object(&self, schema: &Value, fields: &Map<String, Value>, all_known: bool) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().ok_or("bad schema")?;
            if !fields.contains_key(required) {
                return Err(format!("{required} is missing"));
            }
        }
        for (name, value) in fields {
            match schema["properties"].get(name) {
                Some(property) => self.value(property, value).map_err(|what| format!("{name} {what}"))?,
                None if all_known => return Err(format!("{name} is not described")),
                None => {}
            }
        }
        Ok(())
    }

    fn value(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = match schema["$ref"].as_str().and_then(|link| link.strip_prefix("#/$defs/")) {
            Some(name) => &self.0["$defs"][name],
            None => schema,
        };
        let fits = match schema["type"].as_str() {
            Some("integer") => value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("array") => {
                for item in value.as_array().ok_or("is no array")? {
                    self.value(&schema["items"], item)?;
                }
                true
            }
            Some("object") => return self.object(schema, value.as_object().ok_or("is no object")?, true),
            Some(other) => return Err(format!("has the unknown type {other}")),
            None => schema.get("const").is_none_or(|only| only == value),
        };
        let listed = schema["enum"].as_array().is_none_or(|values| values.contains(value));
        let number = value.as_f64().unwrap_or(0.0);
        let small = schema["maximum"].as_f64().is_none_or(|maximum| number <= maximum);
        if fits && listed && small && number >= 0.0 { Ok(()) } else { Err(format!("does not fit: {value}")) }
    }
}

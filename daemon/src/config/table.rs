//! TOML tables whose every key must be asked for: what is left over is a mistake with a line and a suggestion.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;
use super::text::{nearest, parse_rate, parse_size};

/// A table being read.
pub(super) struct Fields<'t> {
    table: Table<'t>,
    /// Where the table stands, for what is missing from it.
    at: usize,
    /// Keys that were asked for: those that exist.
    known: Vec<&'static str>,
    name: &'static str,
}

enum Table<'t> {
    Own(DeTable<'t>),
    Inner(&'t DeTable<'t>),
}

/// A value and its key.
pub(super) struct Value<'t> {
    value: Spanned<DeValue<'t>>,
    key: String,
}

impl<'t> Fields<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, Mistake> {
        match DeTable::parse(text) {
            Ok(table) => {
                Ok(Self { table: Table::Own(table.into_inner()), at: 0, known: Vec::new(), name: "file" })
            }
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                Err(Mistake { at, what: error.message().to_owned() })
            }
        }
    }

    fn table(&self) -> &DeTable<'t> {
        match &self.table {
            Table::Own(table) => table,
            Table::Inner(table) => table,
        }
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.table().get(key).map(|value| Value { value: value.clone(), key: key.into() })
    }

    /// The value of a key that must be there.
    pub(super) fn need(&mut self, key: &'static str) -> Result<Value<'t>, Mistake> {
        let (at, name) = (self.at, self.name);
        self.take(key).ok_or_else(|| Mistake { at, what: format!("'{key}' is missing in this {name}") })
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Mistake> {
        let unknown = self.table().keys().find(|key| !self.known.contains(&key.get_ref().as_ref()));
        match unknown {
            None => Ok(()),
            Some(key) => {
                let hint = nearest(key.get_ref(), &self.known);
                let at = key.span().start;
                Err(Mistake { at, what: format!("unknown key '{}'; did you mean '{hint}'?", key.get_ref()) })
            }
        }
    }
}

impl Value<'_> {
    pub(super) fn mistake(&self, what: &str) -> Mistake {
        Mistake { at: self.value.span().start, what: what.into() }
    }

    pub(super) fn text(&self) -> Result<&str, Mistake> {
        let text = self.value.get_ref().as_str();
        text.ok_or_else(|| self.mistake(&format!("'{}' is a text in quotes", self.key)))
    }

    pub(super) fn boolean(&self) -> Result<bool, Mistake> {
        let value = self.value.get_ref().as_bool();
        value.ok_or_else(|| self.mistake(&format!("'{}' is true or false", self.key)))
    }

    /// A number of bytes: an integer, or a text with a unit.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Result<u64, Mistake> {
        let size = match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => parse_size(text),
            _ => None,
        };
        let key = &self.key;
        let size = size.ok_or_else(|| {
            self.mistake(&format!("'{key}' is a number of bytes, or a text such as \"128 MiB\""))
        })?;
        if !range.contains(&size) {
            let (least, most) = (range.start(), range.end());
            return Err(self.mistake(&format!("'{key}' must lie between {least} and {most} bytes")));
        }
        Ok(size)
    }

    /// Bits a second, `least` or more: a text, since a number alone would leave open of what.
    pub(super) fn rate(&self, least: u64) -> Result<u64, Mistake> {
        let text = self.text()?;
        let rate = parse_rate(text).filter(|&bps| bps >= least);
        rate.ok_or_else(|| {
            let key = &self.key;
            self.mistake(&format!("'{key}' is a rate such as \"100 Mbit/s\", of {least} bit/s or more"))
        })
    }

    /// A number of things.
    pub(super) fn number(&self, range: RangeInclusive<u32>) -> Result<u32, Mistake> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let key = &self.key;
        let number = number.ok_or_else(|| self.mistake(&format!("'{key}' is a number")))?;
        let (least, most) = (range.start(), range.end());
        let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
        fits.ok_or_else(|| self.mistake(&format!("'{key}' must lie between {least} and {most}")))
    }

    /// A path from the root.
    pub(super) fn absolute_path(&self) -> Result<PathBuf, Mistake> {
        let path = PathBuf::from(self.text()?);
        match path.is_absolute() {
            true => Ok(path),
            false => {
                Err(self.mistake(&format!("'{}' is an absolute path: one that begins with '/'", self.key)))
            }
        }
    }

    /// The keys and values of a table with keys of the user's own; `otherwise` is what to write if this is none.
    pub(super) fn entries(&self, otherwise: &str) -> Result<Vec<(String, Value<'_>)>, Mistake> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.mistake(otherwise))?;
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            let key = AsRef::<str>::as_ref(key.get_ref()).to_owned();
            (key.clone(), Value { value: Spanned::clone(value), key })
        };
        Ok(table.iter().map(entry).collect())
    }

    pub(super) fn list(&self) -> Result<Vec<Value<'_>>, Mistake> {
        let list = self.value.get_ref().as_array();
        let list = list.ok_or_else(|| self.mistake(&format!("'{}' is a list", self.key)))?;
        Ok(list.iter().map(|value| Value { value: value.clone(), key: self.key.clone() }).collect())
    }

    /// The fields of a table, called `name` in messages.
    pub(super) fn fields(&self, name: &'static str) -> Result<Fields<'_>, Mistake> {
        let at = self.value.span().start;
        match self.value.get_ref().as_table() {
            Some(table) => Ok(Fields { table: Table::Inner(table), at, known: Vec::new(), name }),
            None if name == "peer" => Err(self.mistake("write [[peer]] before its keys")),
            None => Err(self.mistake(&format!("write [{name}] before its keys"))),
        }
    }
}

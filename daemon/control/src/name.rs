//! Names of files: bytes, which JSON cannot carry.
//!
//! A name travels as a string; where it is not UTF-8 the string has replacement characters, for people, and a second
//! field with `_b64` behind its key has the bytes, which then count.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A file name or path, byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Vec<u8>);

impl Name {
    /// From bytes, whatever they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// For people: with replacement characters where it is not UTF-8. Control characters are still in it.
    #[must_use]
    pub fn to_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OsStr::from_bytes(&self.0).fmt(f)
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().to_vec())
    }
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<PathBuf> for Name {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

impl From<Name> for PathBuf {
    fn from(name: Name) -> Self {
        OsString::from_vec(name.0).into()
    }
}

/// Makes a module for `#[serde(flatten, with = ...)]` that writes a [`Name`] as `$key` and, where needed, `$base64`.
macro_rules! name_fields {
    ($($module:ident $key:literal $base64:literal;)*) => { $(
        pub(crate) mod $module {
            use std::borrow::Cow;

            use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

            use super::Name;
            use crate::base64;

            #[derive(Serialize, Deserialize)]
            struct Fields<'a> {
                #[serde(rename = $key, default, skip_serializing_if = "Option::is_none")]
                text: Option<Cow<'a, str>>,
                #[serde(rename = $base64, default, skip_serializing_if = "Option::is_none")]
                base64: Option<String>,
            }

            fn fields(name: &Name) -> Fields<'_> {
                let text = name.to_lossy();
                let base64 = matches!(text, Cow::Owned(_)).then(|| base64::encode(name.as_bytes()));
                Fields { text: Some(text), base64 }
            }

            pub(crate) fn serialize<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
                fields(name).serialize(to)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
                option::deserialize(from)?.ok_or_else(|| D::Error::missing_field($key))
            }

            /// The same for a name that may be absent.
            pub(crate) mod option {
                use super::{Cow, Deserialize, Deserializer, Error, Fields, Name, Serialize, Serializer};

                #[allow(dead_code, reason = "not every key is ever optional")]
                pub(crate) fn serialize<S: Serializer>(name: &Option<Name>, to: S) -> Result<S::Ok, S::Error> {
                    match name {
                        Some(name) => super::fields(name).serialize(to),
                        None => Fields { text: None, base64: None }.serialize(to),
                    }
                }

                pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Name>, D::Error> {
                    let Fields { text, base64 } = Fields::deserialize(from)?;
                    match base64 {
                        Some(coded) => {
                            let bytes = crate::base64::decode(&coded);
                            let bytes = bytes.ok_or_else(|| D::Error::custom(concat!($base64, " is not base64")))?;
                            Ok(Some(Name::new(bytes)))
                        }
                        None => Ok(text.map(|text: Cow<'_, str>| Name::new(text.into_owned()))),
                    }
                }
            }
        }
    )* };
}

name_fields! {
    name "name" "name_b64";
    path "path" "path_b64";
    part "part" "part_b64";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        before: u64,
        #[serde(flatten, with = "name")]
        name: Name,
        #[serde(flatten, with = "path::option")]
        path: Option<Name>,
    }

    #[test]
    fn base64_only_where_it_is_needed() {
        let plain = Holder { before: u64::MAX, name: "a\n\u{e4}".into(), path: None };
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"before":18446744073709551615,"name":"a\nä"}"#);
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), plain);
        let broken = Holder { before: 0, name: Name::new(*b"a\xff"), path: Some(Name::new(*b"\xfe")) };
        let text = serde_json::to_string(&broken).unwrap();
        assert_eq!(text, r#"{"before":0,"name":"a�","name_b64":"Yf8=","path":"�","path_b64":"/g=="}"#);
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), broken);
    }

    #[test]
    fn a_replacement_character_of_its_own_is_a_name_like_any_other() {
        let name = Holder { before: 0, name: "\u{fffd}".into(), path: None };
        let text = serde_json::to_string(&name).unwrap();
        assert!(!text.contains("b64"));
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), name);
    }

    #[test]
    fn missing_and_broken_names_are_errors() {
        let error = |text: &str| serde_json::from_str::<Holder>(text).unwrap_err().to_string();
        assert!(error(r#"{"before":0}"#).contains("missing field `name`"));
        assert!(error(r#"{"before":0,"name":"a","name_b64":"!"}"#).contains("name_b64 is not base64"));
        assert!(error(r#"{"before":0,"name":7}"#).contains("invalid type"));
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            let holder = Holder { before: 1, name: Name::new(bytes.clone()), path: Some(Name::new(bytes)) };
            let text = serde_json::to_string(&holder).unwrap();
            prop_assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), holder);
        }
    }
}

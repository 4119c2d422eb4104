//! The names of several files that go to one place: they must differ.

use std::collections::BTreeMap;

use udpxd::Code;

use crate::escape;
use crate::failure::Failure;

/// Base names so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    list: Vec<Vec<u8>>,
    /// What each belongs to, as it is shown.
    seen: BTreeMap<Vec<u8>, String>,
}

impl Names {
    /// Adds the base name of the file that is shown as `shown`, if it has one.
    pub(crate) fn add(&mut self, name: Option<&[u8]>, shown: String) -> Result<(), Failure> {
        let Some(name) = name else {
            return Err(Failure::new(Code::Usage, format!("{shown} names no file")));
        };
        if let Some(first) = self.seen.get(name) {
            let text = format!("{first} and {shown} would both be called {}", escape::bytes(name));
            return Err(Failure::with_remedy(Code::Usage, text, "Move one of them under another name."));
        }
        self.seen.insert(name.to_vec(), shown);
        self.list.push(name.to_vec());
        Ok(())
    }

    /// All of them, in their order.
    pub(crate) fn into_list(self) -> Vec<Vec<u8>> {
        self.list
    }
}

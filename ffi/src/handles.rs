//! Handles: numbers that look like pointers to C and are never dereferenced.
//!
//! ```text
//! bits 63..32 generation of the slot    31..0 number of the slot, from 1
//! ```
//!
//! C's type checker keeps handles of different kinds apart, and the table checks it once more. A slot that is freed gets
//! another generation, so a handle that was freed before is told from the one that has its slot now. A call holds the
//! object while it works: another thread may free the handle meanwhile.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use udpxd::Code;
use udpxd::report::JobError;

use crate::boundary::wrong;

const _: () = assert!(usize::BITS == 64, "a handle has to fit into a pointer");

/// Handles at once in a process.
const HANDLES_MAX: usize = 65_536;

/// What a handle stands for.
pub(crate) trait Object: Any + Send + Sync {
    /// The type that C knows.
    type Opaque;
    /// What C calls it.
    const NAME: &str;
}

struct Slot {
    generation: u32,
    object: Option<Arc<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { slots: Vec::new(), free: Vec::new() });

/// A panic leaves whole entries.
fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for an object.
pub(crate) fn insert<T: Object>(object: Arc<T>) -> Result<*mut T::Opaque, JobError> {
    let mut table = table();
    let slot = match table.free.pop() {
        Some(slot) => slot,
        None if table.slots.len() < HANDLES_MAX => {
            table.slots.push(Slot { generation: 1, object: None });
            table.slots.len() - 1
        }
        None => {
            let text = format!("this process has {HANDLES_MAX} handles of libudpx, as many as it may have");
            return Err(JobError::new(Code::TryAgain, text, "Free those that are not needed any more."));
        }
    };
    table.slots[slot].object = Some(object);
    let number = (table.slots[slot].generation as usize) << 32 | (slot + 1);
    Ok(std::ptr::without_provenance_mut(number))
}

/// The object of a handle.
pub(crate) fn get<T: Object>(handle: *const T::Opaque) -> Result<Arc<T>, JobError> {
    find(&table(), handle).map(|(_, object)| object)
}

/// Takes a handle out of use.
pub(crate) fn remove<T: Object>(handle: *const T::Opaque) -> Result<Arc<T>, JobError> {
    let mut table = table();
    let (slot, object) = find(&table, handle)?;
    let entry = &mut table.slots[slot];
    entry.object = None;
    // After four thousand million uses of one slot it is not used again, rather than let an old handle fit.
    if let Some(next) = entry.generation.checked_add(1) {
        entry.generation = next;
        table.free.push(slot);
    }
    Ok(object)
}

fn find<T: Object>(table: &Table, handle: *const T::Opaque) -> Result<(usize, Arc<T>), JobError> {
    let name = T::NAME;
    if handle.is_null() {
        return Err(wrong(
            format!("the {name} is NULL"),
            "Pass the handle that its _new function has stored.",
        ));
    }
    let number = handle.addr();
    let (generation, slot) = ((number >> 32) as u32, (number & 0xffff_ffff).wrapping_sub(1));
    let entry = table.slots.get(slot).filter(|entry| entry.generation == generation);
    let object = entry.and_then(|entry| entry.object.clone()).and_then(|object| object.downcast().ok());
    let stale = || {
        wrong(
            format!("this is no {name}: it was freed, or never was one"),
            "Use a handle until its _free function, and no longer.",
        )
    };
    object.map(|object| (slot, object)).ok_or_else(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(u32);
    struct Other;
    struct Opaque;

    impl Object for Thing {
        type Opaque = Opaque;
        const NAME: &str = "thing";
    }

    impl Object for Other {
        type Opaque = Opaque;
        const NAME: &str = "other";
    }

    #[test]
    fn a_handle_is_good_until_it_is_freed() {
        let handle = insert(Arc::new(Thing(7))).unwrap();
        assert_eq!(get::<Thing>(handle).unwrap().0, 7);
        assert!(get::<Other>(handle).is_err(), "of another kind");
        assert_eq!(remove::<Thing>(handle).unwrap().0, 7);
        for _ in 0..100 {
            // The slot is used again, by others.
            let next = insert(Arc::new(Thing(8))).unwrap();
            assert!(get::<Thing>(handle).is_err() && next != handle);
            remove::<Thing>(next).unwrap();
        }
        assert_eq!(remove::<Thing>(handle).err().unwrap().code, Code::Usage);
    }

    #[test]
    fn what_never_was_a_handle() {
        let local = Opaque;
        for pointer in [
            std::ptr::null(),
            &raw const local,
            std::ptr::without_provenance(1),
            std::ptr::without_provenance(usize::MAX),
        ] {
            assert_eq!(get::<Thing>(pointer).err().unwrap().code, Code::Usage);
        }
    }
}

//! Answering listings: a clerk reads the directory, pages go out as fast as the peer takes them.

use std::os::unix::ffi::OsStringExt;
use std::time::{SystemTime, UNIX_EPOCH};

use udpx_proto::messages::{ListEntries, ListEntry, ListKind, ListRequest};
use udpx_proto::{Code, Message, RequestId};

use super::access::Right;
use super::driver::{Cx, Driver};
use crate::storage::listing::{Entry, EntryKind, Listing};
use crate::storage::source::SourceError;
use crate::storage::writers::ClerkJob;
use crate::transfer::{Failure, code_of_source, rel_path};

/// A listing that the peer asked for.
#[derive(Debug)]
pub(super) struct Told {
    request: RequestId,
    /// Tag of the clerk's work.
    tag: u64,
    /// What is still to be told, once the clerk has read it.
    rest: Option<(std::vec::IntoIter<Entry>, bool)>,
}

impl Driver {
    pub(super) fn on_list_request(&mut self, index: u32, message: &ListRequest, cx: &mut Cx<'_>) {
        if !self.is_new_request(message.request, cx) {
            return;
        }
        match self.listing_of(index, message, cx) {
            Ok(job) => cx.queue.clerk(job),
            Err(failure) => self.refuse(message.request, failure),
        }
    }

    fn listing_of(
        &mut self,
        index: u32,
        message: &ListRequest,
        cx: &mut Cx<'_>,
    ) -> Result<ClerkJob, Failure> {
        let vault = self.place(&message.root, Right::List)?.vault;
        if self.told.len() >= LISTINGS_MAX {
            return Err(Failure::new(Code::TryAgain, "Too many listings at once in one session."));
        }
        let path = match message.path.strip_suffix(b"/").unwrap_or(&message.path) {
            b"" => None,
            path => Some(rel_path(path)?),
        };
        let tag = cx.tags.next(index);
        self.told.push(Told { request: message.request, tag, rest: None });
        Ok(ClerkJob::List { tag, vault, path })
    }

    /// A clerk has read a directory, or could not.
    pub(crate) fn on_listed(&mut self, tag: u64, result: Result<Listing, SourceError>) {
        self.dirty = true;
        let Some(at) = self.told.iter().position(|told| told.tag == tag) else { return };
        match result {
            Ok(listing) => self.told[at].rest = Some((listing.entries.into_iter(), listing.is_cut)),
            Err(error) => {
                let told = self.told.swap_remove(at);
                self.refuse(told.request, Failure::new(code_of_source(&error), error.to_string()));
            }
        }
    }

    /// The next page, if one is wanted and nothing else waits to be sent. False if there is none.
    pub(super) fn tell_entries(&mut self) -> bool {
        if !self.mail.is_empty() {
            return false;
        }
        let Some(at) = self.told.iter().position(|told| told.rest.is_some()) else { return false };
        let Told { request, rest: Some((rest, truncated)), .. } = &mut self.told[at] else { return false };
        let entries = page(rest);
        let last = rest.len() == 0;
        let page = ListEntries { request: *request, entries, last, truncated: *truncated && last };
        self.mail.push_back(Message::ListEntries(page));
        if last {
            self.told.remove(at);
        }
        true
    }

    /// The peer does not want to hear the rest.
    pub(super) fn stop_telling(&mut self, request: RequestId) {
        self.told.retain(|told| told.request != request);
    }
}

/// As many entries as one message holds.
fn page(rest: &mut std::vec::IntoIter<Entry>) -> Vec<ListEntry> {
    let mut bytes = 0;
    let mut entries = Vec::new();
    while bytes < PAGE_BYTES
        && let Some(entry) = rest.next()
    {
        bytes += entry.name.len() + ENTRY_BYTES;
        entries.push(wire(entry));
    }
    entries
}

fn wire(entry: Entry) -> ListEntry {
    let kind = match entry.kind {
        EntryKind::File => ListKind::Regular,
        EntryKind::Directory => ListKind::Directory,
        EntryKind::Other => ListKind::Other,
    };
    let mtime_ns = nanoseconds(entry.modified);
    ListEntry { name: entry.name.into_vec(), kind, size: entry.size, mtime_ns }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let (time, sign) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after, 1),
        Err(before) => (before.duration(), -1),
    };
    sign * i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Listings that one session may ask for at once: each may hold a hundred thousand names.
const LISTINGS_MAX: usize = 2;
/// Bytes of a page, about.
const PAGE_BYTES: usize = 64 << 10;
/// Bytes of an entry beside its name, at most.
const ENTRY_BYTES: usize = 32;

//! A put whose bytes come out of a pipe.
//!
//! Whether a pipe has more than one block is known before anything of it is sent: if it has not, it is a file of known
//! size like any other. Else there is one stream without an end, over blocks that are held until the peer has them;
//! what it said and lost again can then be neither hashed nor sent once more.

use udpx_proto::Code;
use udpx_proto::messages::{BadSubtrees, Message, PutRequest};

use super::{Cause, News, Phase, Put, PutCx, TRIES_MAX};
use crate::storage::BLOCK;
use crate::storage::digest::{DigestTree, Subtrees};
use crate::storage::pipe::{Feed, Fill, Slabs};
use crate::storage::source::SourceError;
use crate::transfer::stripe::Stripe;
use crate::transfer::{Bytes, Failure, Mail};

impl Put {
    /// The pipe was tapped.
    pub(super) fn on_tapped(&mut self, feed: Feed, cx: &mut PutCx<'_>) -> Result<(), SourceError> {
        self.feed = Some(feed);
        self.on_flow(cx)
    }

    /// Something came out of the pipe.
    pub(super) fn on_flow(&mut self, cx: &mut PutCx<'_>) -> Result<(), SourceError> {
        while let Some(fill) = self.feed.as_mut().map_or(Ok(None), Feed::next_fill)? {
            self.on_fill(fill, cx);
        }
        self.pump(cx);
        Ok(())
    }

    fn on_fill(&mut self, Fill { block, end }: Fill, cx: &mut PutCx<'_>) {
        // The feed counts no further than a file may have bytes.
        let subtrees = end.and_then(Subtrees::of);
        if self.phase == Phase::Opening {
            self.tree = DigestTree::new(subtrees.unwrap_or(Subtrees::UNKNOWN));
            self.stripes = match subtrees {
                Some(subtrees) => Stripe::cut(subtrees, 1),
                None => vec![Stripe::endless()],
            };
            self.endless = subtrees.is_none();
            self.ask(end, cx.mail);
            self.phase = Phase::Sending;
        } else if let Some(subtrees) = subtrees {
            self.tree.set_size(subtrees);
            if let Some(stripe) = self.stripes.first_mut() {
                stripe.finish(subtrees);
                if let Some(stream) = stripe.stream {
                    cx.streams.finish(stream, subtrees.size());
                }
            }
        }
        let slab = block.and_then(|block| Some((block, self.feed.as_ref()?.slab(block)?.clone())));
        if let (Some((block, slab)), Some(stripe)) = (slab, self.stripes.first_mut()) {
            self.tree.set(block, slab.cv());
            let available = stripe.on_ready(block);
            if let Some(stream) = stripe.stream {
                cx.streams.push(stream, slab);
                cx.streams.extend(stream, available.unwrap_or(0));
            }
        }
    }

    fn ask(&self, size: Option<u64>, mail: &mut Mail) {
        let Cause::Offered(offer) = &self.spec.cause else { return };
        let (request, offer) = (self.request, offer.clone());
        mail.push_back(Message::PutRequest(PutRequest {
            request,
            root: offer.root,
            path: offer.path,
            name: offer.name,
            size,
            mode: MODE,
            mtime_ns: -1,
            if_exists: offer.if_exists,
            user: offer.user,
        }));
    }

    /// The bytes of a stream over these blocks, as far as they are there.
    pub(super) fn piped(&self, start: u64, end: u64) -> Option<Bytes> {
        let feed = self.feed.as_ref()?;
        if end - start > BLOCK {
            return Some(Bytes::Pipe(feed.slabs()));
        }
        let mut slabs = Slabs::from(start / BLOCK);
        slabs.push(feed.slab(start / BLOCK)?.clone());
        Some(Bytes::Pipe(slabs))
    }

    /// Gives up the blocks that the peer has.
    pub(super) fn release(&mut self, cx: &mut PutCx<'_>) {
        match self.source.clone() {
            Some(source) if source.is_in_memory() => return self.release_mapped(&source, cx),
            Some(_) => return self.release_copies(cx),
            None => {}
        }
        let Some((feed, stripe)) = self.feed.as_mut().zip(self.stripes.first()) else { return };
        let Some(stream) = stripe.stream else { return };
        if let Some(settled) = cx.streams.settled(stream) {
            let gone = feed.release_below(settled / BLOCK);
            cx.streams.drop_below(stream, gone);
        }
    }

    /// Blocks arrived there that differ from their digests.
    pub(super) fn on_bad_piped(&mut self, message: &BadSubtrees, cx: &mut PutCx<'_>) -> Option<News> {
        for &block in &message.indices {
            if self.tree.get(block).is_none() {
                let failure = Failure::protocol("a block was called bad that was not announced");
                return Some(self.fail(failure, cx));
            }
            let tries = self.tries.entry(block).or_insert(0);
            *tries += 1;
            let (tries, slab) = (*tries, self.feed.as_ref().and_then(|feed| feed.slab(block)));
            let text = match slab {
                Some(_) if tries <= TRIES_MAX => {
                    let end = self.tree.subtrees().range(block).end;
                    self.repairs.push(block * BLOCK..end);
                    continue;
                }
                Some(_) => format!("Block {block} of {:?} arrived damaged {TRIES_MAX} times.", self.shown()),
                None => format!(
                    "Block {block} of {:?} arrived damaged, and a pipe can't be read again; run the whole pipeline again.",
                    self.shown()
                ),
            };
            return Some(self.fail(Failure::new(Code::Corrupt, text), cx));
        }
        self.pump(cx);
        None
    }
}

/// Permission bits of a file that was none.
const MODE: u32 = 0o644;

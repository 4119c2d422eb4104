//! Why a datagram of the handshake was not accepted: each that is dropped has one of these names.

use crate::drop_reason::drop_reasons;

drop_reasons! {
    /// The named reason for which a datagram of a handshake was dropped.
    HandshakeDrop {
        Kind = "handshake-kind", "Not of a kind that is expected here.";
        Version = "handshake-version", "Another version, and too short or too frequent for an answer.";
        Length = "handshake-length", "Not the length of its kind.";
        Reserved = "handshake-reserved", "Reserved bytes or padding are not zero.";
        Magic = "handshake-magic", "No magic: not ours.";
        Mac = "handshake-mac", "A wrong MAC: damaged, or the sender does not know the receiver's public key.";
        Lane = "handshake-lane", "For a handshake with another lane id.";
        Pattern = "handshake-pattern", "An unknown Noise pattern.";
        Ticket = "handshake-ticket", "A ticket that is not known here.";
        Noise = "handshake-noise", "The Noise message does not open: wrong keys, or damaged.";
        Params = "handshake-params", "The parameters do not decode or make no sense.";
        Busy = "handshake-busy", "Under load, of somebody who is not known here.";
        Echo = "cookie-echo", "A COOKIE for another HELLO than the one last sent.";
        Cookies = "cookie-flood", "More COOKIEs than an honest acceptor sends.";
        SameVersion = "versions-same", "A VERSIONS reply that names the version which was asked for.";
        Finished = "handshake-finished", "The handshake is over.";
    }
}

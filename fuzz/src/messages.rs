//! Messages of stream 0.

use udpx_proto::messages::{DecodeError, ENVELOPE, Envelope, Message};

/// An envelope and what follows it.
pub fn messages(data: &[u8]) {
    let Some((head, body)) = data.split_at_checked(ENVELOPE) else { return };
    let envelope: Envelope = bytemuck::pod_read_unaligned(head);
    let _ = envelope.length();
    match Message::decode(&envelope, body) {
        Ok(message) => {
            // Lengths may be written in more than one way; what is written by us is read as the same.
            let Ok(bytes) = message.encode() else { return };
            let (head, body) = bytes.split_at(ENVELOPE);
            let envelope: Envelope = bytemuck::pod_read_unaligned(head);
            assert_eq!(envelope.length(), body.len());
            assert_eq!(Message::decode(&envelope, body).as_ref(), Ok(&message));
        }
        Err(DecodeError::Unsupported(_) | DecodeError::Malformed) => {}
    }
}

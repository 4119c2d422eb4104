//! How what the engine says about a failure is told to a user: who speaks, what happened, what to do.

use std::net::SocketAddr;
use std::time::Duration;

use udpx_proto::Code;

use crate::report::JobError;
use crate::transfer::Failure;

/// Whom messages are about.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// What the user calls it.
    name: String,
    /// What the engine calls it.
    addresses: Vec<SocketAddr>,
}

impl Host {
    /// `name` may be empty: then it is called by its address.
    pub(super) fn new(name: &str, addresses: &[SocketAddr]) -> Self {
        let name = match addresses.first() {
            Some(first) if name.is_empty() => first.to_string(),
            _ => name.to_owned(),
        };
        Self { name, addresses: addresses.to_vec() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The failure of a session, or of the attempt to open one.
    pub(super) fn session_error(&self, failure: &Failure) -> JobError {
        match failure.code {
            // The codes that only this end gives to a session, or that both give in words that name who it was.
            Code::Unreachable | Code::Protocol | Code::Usage | Code::Io | Code::Bug => self.own(failure),
            _ => self.told(failure),
        }
    }

    /// The failure of one file; `is_ours` if it is this end that failed.
    pub(super) fn file_error(&self, failure: &Failure, is_ours: bool) -> JobError {
        // Both ends say of a breach of the protocol who found it.
        if is_ours || failure.code == Code::Protocol { self.own(failure) } else { self.told(failure) }
    }

    /// Nothing was heard for too long.
    pub(super) fn silence(&self, silent_for: Duration) -> JobError {
        let text = format!("{} has not answered for {} s", self.name, silent_for.as_secs().max(1));
        JobError::with_remedy(Code::Unreachable, text)
    }

    /// In words for a line of progress.
    pub(super) fn note(&self, failure: &Failure) -> String {
        self.session_error(failure).text
    }

    fn own(&self, failure: &Failure) -> JobError {
        JobError::told(failure.code, &self.named(&failure.text))
    }

    /// What the peer said, with its name before it: its "this machine" is not ours.
    pub(super) fn told(&self, failure: &Failure) -> JobError {
        let name = &self.name;
        let said = |mark: &str, on: String| {
            let (text, remedy) = failure.text.split_once(mark)?;
            Some((text, on + remedy))
        };
        let said =
            said(" On it, ", format!("On {name}, ")).or_else(|| said(" On it: ", format!("On {name}: ")));
        let (text, remedy) = said.unwrap_or((failure.text.as_str(), String::new()));
        let mut error = JobError::told(failure.code, text);
        error.text = format!("{}: {}", self.name, error.text);
        if !remedy.is_empty() {
            error.remedy = remedy;
        }
        error
    }

    /// With the host's name for its addresses.
    fn named(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, address| {
            let address = address.to_string();
            if address == self.name { text } else { text.replace(&address, &self.name) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> Host {
        Host::new("bob", &["192.0.2.7:48379".parse().unwrap()])
    }

    #[test]
    fn a_peer_speaks_under_its_name_and_we_do_not() {
        let key = "This machine does not know your key. On it, add to its udpxd.toml: [[peer]]";
        let error = bob().session_error(&Failure::new(Code::Refused, key));
        assert_eq!(error.text, "bob: this machine does not know your key");
        assert_eq!(error.remedy, "On bob, add to its udpxd.toml: [[peer]]");

        let right = "This machine gives you no read on \"inbox\". On it: sudo udpxctl peer grant a --root inbox --read";
        let error = bob().file_error(&Failure::new(Code::Refused, right), false);
        assert_eq!(error.text, "bob: this machine gives you no read on \"inbox\"");
        assert_eq!(error.remedy, "On bob: sudo udpxctl peer grant a --root inbox --read");

        let full = Failure::new(Code::NoSpace, "\"/inbox/a\" can't be written; choose another one.");
        let error = bob().file_error(&full, false);
        assert_eq!(error.text, "bob: \"/inbox/a\" can't be written");
        assert_eq!(error.remedy, "Choose another one.");
        assert_eq!(bob().file_error(&full, true).text, "\"/inbox/a\" can't be written");
    }

    #[test]
    fn the_host_is_called_by_its_name() {
        let silent =
            Failure::new(Code::Unreachable, "192.0.2.7:48379 does not answer: check that udpxd runs there.");
        let error = bob().session_error(&silent);
        assert_eq!(
            (error.text.as_str(), error.remedy.as_str()),
            ("bob does not answer", "Check that udpxd runs there.")
        );
        assert_eq!(bob().silence(Duration::from_millis(5100)).text, "bob has not answered for 5 s");
        assert_eq!(Host::new("", &["192.0.2.7:9".parse().unwrap()]).name(), "192.0.2.7:9");
    }
}

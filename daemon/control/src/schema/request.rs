//! The envelope of a request, and everything that can be wrong with one.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Command, ErrorReport, Response, SCHEMA, code, is_default};
use crate::frame::{self, FrameError};
use crate::limits::DESCRIPTORS_MAX;

/// A request.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Request {
    /// Version of what follows: [`SCHEMA`].
    pub schema: u32,
    /// Chosen by the client, from 1, unique among its requests in flight; each response repeats it.
    pub id: u64,
    /// Descriptors that come with this frame.
    #[serde(skip_serializing_if = "is_default")]
    pub descriptors: usize,
    /// What is asked for.
    #[serde(flatten)]
    pub command: Command,
}

/// What every version must be able to read of a request.
#[derive(Deserialize)]
struct Envelope<'a> {
    schema: u32,
    id: u64,
    #[serde(default)]
    descriptors: usize,
    command: Option<String>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct RequestError {
    /// Its id; 0 if it has none that an answer could name: then the connection is over.
    pub id: u64,
    /// The descriptors that it said to come with it.
    pub descriptors: usize,
    /// What is wrong.
    pub kind: RequestErrorKind,
}

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestErrorKind {
    /// It is no JSON, or has no version or id.
    #[error("The request is not understood: {0}.")]
    Unreadable(serde_json::Error),
    /// It is of a newer version.
    #[error("The request is of schema {0}, and this daemon speaks schema {SCHEMA}.")]
    Newer(u32),
    /// Its version is 0, or its id.
    #[error("The request has no valid {0}.")]
    Zero(&'static str),
    /// There is no such command.
    #[error("This daemon knows no command {0:?}.")]
    UnknownCommand(String),
    /// The command's arguments are wrong.
    #[error("The arguments of {command:?} are not understood: {error}.")]
    Arguments {
        /// The command.
        command: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// More or fewer descriptors than the command takes.
    #[error("{command:?} takes {expected} descriptors here, and {given} came.")]
    Descriptors {
        /// The command.
        command: &'static str,
        /// Descriptors that it takes with these arguments.
        expected: usize,
        /// Descriptors that it said to come.
        given: usize,
    },
    /// The id is in use.
    #[error("Request {0} is still being served.")]
    Duplicate(u64),
    /// Too many requests in flight.
    #[error("{0} requests of this connection are being served already.")]
    TooMany(usize),
}

impl Request {
    /// A request of the version that this crate speaks.
    pub fn new(id: u64, command: impl Into<Command>) -> Self {
        let command = command.into();
        Self { schema: SCHEMA, id, descriptors: command.descriptors(), command }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::response`] is the answer.
    pub fn parse(json: &[u8]) -> Result<Self, RequestError> {
        let envelope: Envelope<'_> = serde_json::from_slice(json).map_err(|error| RequestError {
            id: 0,
            descriptors: 0,
            kind: RequestErrorKind::Unreadable(error),
        })?;
        let (id, given) = (envelope.id, envelope.descriptors);
        let parsed = envelope.command().and_then(|command| match command.descriptors() {
            expected if expected == given => Ok(command),
            expected => Err(RequestErrorKind::Descriptors { command: command.name(), expected, given }),
        });
        match parsed {
            Ok(command) => Ok(Self { schema: envelope.schema, id, descriptors: given, command }),
            Err(kind) => Err(RequestError { id, descriptors: given, kind }),
        }
    }

    /// As a frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        frame::encode_message(self)
    }
}

impl Envelope<'_> {
    fn command(&self) -> Result<Command, RequestErrorKind> {
        // The version comes first: of a newer request nothing else is certain.
        match (self.schema, self.id) {
            (0, _) => return Err(RequestErrorKind::Zero("schema")),
            (schema, _) if schema > SCHEMA => return Err(RequestErrorKind::Newer(schema)),
            (_, 0) => return Err(RequestErrorKind::Zero("id")),
            _ => {}
        }
        let name = self.command.as_deref().unwrap_or_default();
        let args = self.args.map_or("{}", RawValue::get);
        match Command::parse(name, args) {
            Some(Ok(command)) => Ok(command),
            Some(Err(error)) => {
                let known = Command::NAMES.iter().find(|known| **known == name);
                Err(RequestErrorKind::Arguments { command: known.unwrap_or(&""), error })
            }
            None => Err(RequestErrorKind::UnknownCommand(name.chars().take(NAME_CHARS_MAX).collect())),
        }
    }
}

impl RequestError {
    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response {
        Response::error(self.id, self.report())
    }

    /// What to tell the client.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        let (code, remedy) = match &self.kind {
            RequestErrorKind::Unreadable(_) | RequestErrorKind::Zero(_) => {
                (code::PROTOCOL, "docs/CONTROL.md says what a request looks like.".to_owned())
            }
            RequestErrorKind::Newer(_) | RequestErrorKind::UnknownCommand(_) => {
                (code::PROTOCOL, "Update udpxd, or use the udpxctl that came with it.".to_owned())
            }
            RequestErrorKind::Arguments { .. } => {
                (code::USAGE, "docs/CONTROL.md says what the command takes.".to_owned())
            }
            RequestErrorKind::Duplicate(_) => {
                (code::PROTOCOL, "Give each request of a connection an id of its own.".to_owned())
            }
            RequestErrorKind::Descriptors { .. } => (
                code::USAGE,
                format!(
                    "Pass one for each file that says so, {DESCRIPTORS_MAX} at most, and let a vault open more."
                ),
            ),
            RequestErrorKind::TooMany(_) => {
                (code::TRY_AGAIN, "Wait for results, or open another connection.".to_owned())
            }
        };
        ErrorReport::new(code, self.kind.to_string(), remedy)
    }
}

/// Characters of an unknown command that an error repeats.
const NAME_CHARS_MAX: usize = 64;

//! Which stable code an error of the storage stands for.

use udpx_proto::Code;

use crate::storage::source::SourceError;
use crate::storage::vault::VaultError;

/// The code of an error at a source.
pub(crate) fn code_of_source(error: &SourceError) -> Code {
    match error {
        SourceError::Changed { .. } => Code::SourceChanged,
        SourceError::Outside(_) => Code::Refused,
        SourceError::Spent { .. } | SourceError::Busy(_) | SourceError::TooManyPipes(_) => Code::TryAgain,
        SourceError::NotFound(_)
        | SourceError::Unreadable(_)
        | SourceError::IsDirectory(_)
        | SourceError::NotDirectory(_)
        | SourceError::NotRegular(_)
        | SourceError::Handed { .. }
        | SourceError::TooLarge { .. } => Code::NoSource,
        SourceError::Io { .. } => Code::Io,
    }
}

/// The code of an error at a destination.
pub(crate) fn code_of_vault(error: &VaultError) -> Code {
    match error {
        VaultError::Lent { code, .. } => *code,
        VaultError::Outside(_) | VaultError::Declined(_) => Code::Refused,
        VaultError::OutOfRange { .. } => Code::Protocol,
        VaultError::Finished(_) => Code::Bug,
        VaultError::Begun { .. } | VaultError::Busy(_) => Code::TryAgain,
        VaultError::Poisoned(_)
        | VaultError::NotDurable { .. }
        | VaultError::Io { .. }
        | VaultError::ReaderGone(_) => Code::Io,
        VaultError::Name(_)
        | VaultError::NotFound(_)
        | VaultError::IsDirectory(_)
        | VaultError::NotDirectory(_)
        | VaultError::NotWritable(_)
        | VaultError::Exists(_)
        | VaultError::Handed { .. }
        | VaultError::NoSpace { .. }
        | VaultError::OverQuota { .. }
        | VaultError::BelowFloor { .. }
        | VaultError::TooLarge { .. } => Code::NoSpace,
    }
}

//! The one table of error codes: number on the wire, kind, exit code, text and remedy.

macro_rules! codes {
    ($($number:literal $name:ident $kind:literal exit $exit:literal $text:literal remedy $remedy:literal;)*) => {
        /// A stable error code. Numbers are never reused.
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $text] $name,)* }

        impl Code {
            /// All codes, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code of a number; unknown ones are [`Code::Other`].
            #[must_use]
            pub const fn from_number(number: u32) -> Self {
                match number { $($number => Self::$name,)* _ => Self::Other }
            }

            /// The name that JSON carries.
            #[must_use]
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => $kind,)* }
            }

            /// The exit code of a command that fails with it.
            #[must_use]
            pub const fn exit(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// What happened, as a sentence without its subject.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    0 Done "done" exit 0 "Everything went well." remedy "Nothing to do.";
    1 Other "other" exit 1 "Something failed that has no code of its own." remedy "Read the text; run again with -v.";
    2 Usage "usage" exit 2 "The command line is not understood." remedy "See udpxctl --help.";
    4 Partly "partly" exit 4 "Some of several files failed." remedy "Look at the errors above and repeat the command for those files.";
    65 Corrupt "corrupt" exit 65 "Data did not match its digest after three tries." remedy "Check the memory and disks of both machines, then try again.";
    66 NoSource "no-source" exit 66 "The source cannot be opened." remedy "Check the path, and that you may read it.";
    67 SourceChanged "source-changed" exit 67 "The source changed while it was sent." remedy "Try again when nothing writes to the file.";
    68 Unreachable "unreachable" exit 68 "The host does not answer." remedy "Check that udpxd runs there and that UDP port 48379 is open.";
    69 NoDaemon "no-daemon" exit 69 "No daemon runs on this machine." remedy "Start it: systemctl start udpxd.";
    70 Bug "bug" exit 70 "This is a bug of udpx." remedy "Report it with the output of the same command and -v.";
    73 NoSpace "no-space" exit 73 "The destination has no room, or cannot be created." remedy "Free space there, or choose another destination.";
    74 Io "io" exit 74 "A disk or network operation failed." remedy "See the system's log on the machine that is named.";
    75 TryAgain "try-again" exit 75 "It took too long, or was put off." remedy "Run the same command again.";
    76 Protocol "protocol" exit 76 "The peer speaks another version, or not the protocol." remedy "Install the same version of udpx on both machines.";
    77 Refused "refused" exit 77 "The peer or this machine does not permit it." remedy "Ask the peer's administrator to add your key: udpxctl key shows it.";
    78 Config "config" exit 78 "The configuration is not valid." remedy "Run udpxd check, which names the line.";
    130 Interrupted "interrupted" exit 130 "Interrupted." remedy "Run the same command again to go on.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_survive_the_wire() {
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), code);
            assert!(!code.remedy().is_empty());
        }
        assert_eq!(Code::from_number(4_000_000), Code::Other);
    }
}

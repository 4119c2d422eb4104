//! Little-endian integers of alignment 1, so that a wire struct can be cast at any address.

use bytemuck::{Pod, Zeroable};

macro_rules! little_endian {
    ($name:ident, $int:ty, $size:literal) => {
        #[doc = concat!("A little-endian `", stringify!($int), "` of alignment 1.")]
        #[derive(Copy, Clone, PartialEq, Eq, Pod, Zeroable, Default)]
        #[repr(transparent)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Encodes `value`.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value.to_le_bytes())
            }

            /// Decodes.
            #[must_use]
            pub const fn get(self) -> $int {
                <$int>::from_le_bytes(self.0)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.get().fmt(f)
            }
        }

        const _: () = assert!(size_of::<$name>() == $size && align_of::<$name>() == 1);
    };
}

little_endian!(U16, u16, 2);
little_endian!(U32, u32, 4);
little_endian!(U64, u64, 8);

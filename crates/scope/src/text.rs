//! Enumerations that have one spelling each, in the database and over HTTP.

/// A text that is none of the values of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", expected.join(", "))]
pub struct UnknownText {
    /// Every text that would have been understood.
    pub expected: &'static [&'static str],
}

/// Declares a plain enumeration together with its texts: `ALL`, `as_str`, `meaning`, `Display` and `FromStr`.
///
/// The texts are what is stored and what is sent, so they are written once, beside the variants. So is what they mean.
///
/// ```
/// scaigrid_scope::text_enum! {
///     /// What a door is.
///     pub enum Door {
///         /// One can pass.
///         Open => "open",
///         /// One cannot.
///         Shut => "shut",
///     }
/// }
/// assert_eq!("shut".parse(), Ok(Door::Shut));
/// assert_eq!(Door::Open.meaning(), "One can pass.");
/// ```
#[macro_export]
macro_rules! text_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text that is stored and sent.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What it means, for people: its own documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii()),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::UnknownText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownText { expected: &[$($text),+] }),
                }
            }
        }
    };
}

//! Pictures of Cores: what is taken for one, told by its first bytes and not by what somebody says of it.

use data_encoding::HEXLOWER;
use scaigrid_scope::{CoreId, TenantId, text_enum};
use sha2::{Digest as _, Sha256};

text_enum! {
    /// The formats that pictures have.
    pub enum AvatarType {
        /// Portable Network Graphics.
        Png => "image/png",
        /// JPEG.
        Jpeg => "image/jpeg",
        /// Graphics Interchange Format.
        Gif => "image/gif",
        /// WebP.
        Webp => "image/webp",
        /// Scalable Vector Graphics: a document, which could hold scripts.
        Svg => "image/svg+xml",
    }
}

/// What is known of a Core's picture; the bytes lie in the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avatar {
    /// Its format.
    pub media_type: AvatarType,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub hash: Box<str>,
}

/// Why something is no picture of a Core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AvatarProblem {
    /// It has more than [`Avatar::MAX_BYTES`] bytes.
    #[error("is larger than {} bytes", Avatar::MAX_BYTES)]
    TooLarge,
    /// It begins like none of the formats.
    #[error("is no PNG, JPEG, GIF, WebP or SVG")]
    Unknown,
    /// It is said to be of a type that is none of a picture's.
    #[error("is said to be {0}, which is no type of a picture")]
    Refused(String),
    /// It is something else than it is said to be.
    #[error("is said to be {said}, but is {found}")]
    Mismatch {
        /// What is said.
        said: AvatarType,
        /// What it is.
        found: AvatarType,
    },
}

/// How far into a document its first element may begin.
const SVG_HEAD: usize = 8 * 1024;

impl Avatar {
    /// The most bytes of a picture.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;

    /// Looks at what is to be a picture, which somebody may have said the media type of.
    ///
    /// # Errors
    /// Why it is none.
    pub fn of(bytes: &[u8], said: Option<&str>) -> Result<Self, AvatarProblem> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(AvatarProblem::TooLarge);
        }
        let said = said.map(declared).transpose()?.flatten();
        let found = AvatarType::of(bytes).ok_or(AvatarProblem::Unknown)?;
        match said {
            Some(said) if said != found => Err(AvatarProblem::Mismatch { said, found }),
            _ => Ok(Self { media_type: found, hash: hash(bytes) }),
        }
    }

    /// The key of a Core's picture in the object store.
    pub fn key(tenant: TenantId, core: CoreId) -> String {
        format!("scaicore/{tenant}/{core}/avatar")
    }

    /// Where anybody gets a Core's picture.
    pub fn url(core: CoreId) -> String {
        format!("/v1/modules/scaicore/cores/{core}/avatar")
    }
}

/// The SHA-256 of a picture's bytes, in hexadecimal.
fn hash(bytes: &[u8]) -> Box<str> {
    HEXLOWER.encode(&Sha256::digest(bytes)).into()
}

/// The type that is meant by what somebody says; none where they say that they do not know.
fn declared(said: &str) -> Result<Option<AvatarType>, AvatarProblem> {
    let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/octet-stream" => Ok(None),
        "image/jpg" => Ok(Some(AvatarType::Jpeg)),
        text => {
            let shown = || AvatarProblem::Refused(essence.chars().take(100).collect());
            text.parse().map(Some).map_err(|_| shown())
        }
    }
}

impl AvatarType {
    /// The format of a picture, by its first bytes; none where it is none of these.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
            Some(Self::Gif)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else {
            is_svg(bytes).then_some(Self::Svg)
        }
    }
}

/// Whether a document is SVG in UTF-8: its first element is `svg`, and it defines no entities, by which a small document
/// becomes a huge one.
fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    let whole = rest.len();
    loop {
        if whole - rest.len() > SVG_HEAD {
            return false;
        }
        let end = if rest.starts_with("<?") {
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else if rest.starts_with("<!DOCTYPE") {
            // One with declarations of its own goes on behind the first bracket, and is refused below.
            ">"
        } else {
            break;
        };
        let Some(at) = rest.find(end) else { return false };
        rest = rest[at + end.len()..].trim_start();
    }
    let named = rest.strip_prefix("<svg").and_then(|rest| rest.chars().next());
    named.is_some_and(|next| next.is_whitespace() || next == '>' || next == '/') && !text.contains("<!ENTITY")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let of = |bytes: &[u8]| AvatarType::of(bytes);
        assert_eq!(of(b"\x89PNG\r\n\x1a\n..."), Some(AvatarType::Png));
        assert_eq!(of(b"\xff\xd8\xff\xe0"), Some(AvatarType::Jpeg));
        assert_eq!(of(b"GIF87a"), Some(AvatarType::Gif));
        assert_eq!(of(b"GIF89a,,,"), Some(AvatarType::Gif));
        assert_eq!(of(b"RIFF\x04\0\0\0WEBPVP8 "), Some(AvatarType::Webp));
        for none in [&b""[..], b"RIFF\x04\0\0\0WAVE", b"\x89PNG", b"BM....", b"%PDF-1.4", b"{}", b"\xff\xd8"]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_document_is_svg_by_its_first_element() {
        let good = [
            "<svg xmlns='http://www.w3.org/2000/svg'/>",
            "\u{feff}\n<?xml version='1.0'?>\n<!-- <html> -->\n<svg>",
            "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd\"><svg\n/>",
            "<svg><script>alert(1)</script></svg>",
        ];
        for good in good {
            assert_eq!(AvatarType::of(good.as_bytes()), Some(AvatarType::Svg), "{good}");
        }
        let bad = [
            "<html><svg/></html>",
            "<svgx/>",
            "svg",
            "<!-- <svg/>",
            "<!DOCTYPE svg [<!ENTITY a \"aaaa\">]><svg>&a;</svg>",
            "<svg>\n<!ENTITY a 'b'></svg>",
        ];
        for bad in bad {
            assert_eq!(AvatarType::of(bad.as_bytes()), None, "{bad}");
        }
        let late = format!("<!--{}--><svg/>", " ".repeat(SVG_HEAD));
        assert_eq!(AvatarType::of(late.as_bytes()), None);
    }

    #[test]
    fn what_is_said_must_be_so() {
        let png = b"\x89PNG\r\n\x1a\n";
        for said in
            [None, Some("image/png"), Some("IMAGE/PNG; a=b"), Some("application/octet-stream"), Some("")]
        {
            assert_eq!(Avatar::of(png, said).unwrap().media_type, AvatarType::Png, "{said:?}");
        }
        assert!(Avatar::of(b"\xff\xd8\xff", Some("image/jpg")).is_ok());
        let mismatch = AvatarProblem::Mismatch { said: AvatarType::Gif, found: AvatarType::Png };
        assert_eq!(Avatar::of(png, Some("image/gif")), Err(mismatch));
        assert_eq!(Avatar::of(png, Some("text/html")), Err(AvatarProblem::Refused("text/html".into())));
        assert_eq!(Avatar::of(b"hello", Some("image/png")), Err(AvatarProblem::Unknown));
        let mut large = png.to_vec();
        large.resize(Avatar::MAX_BYTES, 0);
        assert!(Avatar::of(&large, None).is_ok());
        large.push(0);
        assert_eq!(Avatar::of(&large, None), Err(AvatarProblem::TooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, said: Option<String>) {
            if let Ok(avatar) = Avatar::of(&bytes, said.as_deref()) {
                prop_assert_eq!(Some(avatar.media_type), AvatarType::of(&bytes));
            }
        }

        #[test]
        fn no_text_breaks_it(text in "(<[?!s][-a-z?>!\\[ ]{0,8}){0,5}") {
            let _ = AvatarType::of(text.as_bytes());
        }
    }
}

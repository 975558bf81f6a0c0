//! Where objects are kept: a folder, or a bucket of S3 and what it takes to get there.

use std::path::Path;

use scaigrid_storage::{Key, S3Settings, StoreSettings};
use url::Url;

use super::catalog;
use super::refusal::Refusal;
use super::sources::Sources;

/// The folder of objects in the data folder.
const FOLDER: &str = "objects";

/// Where `SCAIGRID_OBJECT_STORE` leads.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(String),
    Bucket { bucket: String, prefix: String },
}

/// Reads the settings of the object store. Those of S3 mean nothing for a folder, and are checked all the same.
pub(super) fn read(sources: &Sources, data_dir: &Path) -> Result<StoreSettings, Refusal> {
    let endpoint = sources.optional(&catalog::S3_ENDPOINT, endpoint)?;
    let region = sources.required(&catalog::S3_REGION, region)?;
    let id = sources.optional(&catalog::S3_ACCESS_KEY_ID, word)?;
    let secret = sources.optional(&catalog::S3_SECRET_ACCESS_KEY, word)?;
    let keys = match (id, secret) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Refusal::new(
                catalog::S3_ACCESS_KEY_ID.variable(),
                "goes with SCAIGRID_S3_SECRET_ACCESS_KEY",
            ));
        }
        (None, Some(_)) => {
            return Err(Refusal::new(
                catalog::S3_SECRET_ACCESS_KEY.variable(),
                "goes with SCAIGRID_S3_ACCESS_KEY_ID",
            ));
        }
    };
    Ok(match sources.optional(&catalog::OBJECT_STORE, place)? {
        None => StoreSettings::Files(data_dir.join(FOLDER)),
        Some(Place::Folder(folder)) => StoreSettings::Files(folder.into()),
        Some(Place::Bucket { bucket, prefix }) => {
            StoreSettings::S3(Box::new(S3Settings { bucket, prefix, endpoint, region, keys }))
        }
    })
}

/// Reads `file://FOLDER` or `s3://BUCKET[/PREFIX]`.
fn place(text: &str) -> Result<Place, String> {
    if let Some(folder) = text.strip_prefix("file://") {
        if folder.is_empty() || folder.contains('\0') {
            return Err("file:// must be followed by the path of a folder".to_owned());
        }
        return Ok(Place::Folder(folder.to_owned()));
    }
    let Some(rest) = text.strip_prefix("s3://") else {
        return Err("must begin with file:// or s3://".to_owned());
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(letter) {
        return Err(
            "s3:// must be followed by the name of a bucket: 3 to 63 letters, digits, dots and hyphens"
                .to_owned(),
        );
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() {
        Key::new(prefix).map_err(|error| format!("the prefix: {error}"))?;
    }
    Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// An address without a path.
fn endpoint(text: &str) -> Result<String, String> {
    let rule = || "expected an http or https URL without credentials, path, query and fragment".to_owned();
    let url = Url::parse(text).map_err(|_| rule())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(text.trim_end_matches('/').to_owned()) } else { Err(rule()) }
}

fn region(text: &str) -> Result<String, String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(letter) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a region, such as eu-central-1".to_owned())
    }
}

/// Text without white space. The rule does not repeat it.
fn word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected 1 to 1024 printable letters without white space".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        assert_eq!(place("file:///srv/o"), Ok(Place::Folder("/srv/o".to_owned())));
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(place("s3://my-bucket"), bucket("my-bucket", ""));
        assert_eq!(place("s3://my.bucket/a/b/"), bucket("my.bucket", "a/b"));
        for bad in
            ["", "file://", "s3://", "s3://a", "s3://a b c", "s3://bucket/../x", "gs://bucket", "/srv/o"]
        {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_has_no_path() {
        assert_eq!(endpoint("http://127.0.0.1:9000/"), Ok("http://127.0.0.1:9000".to_owned()));
        for bad in ["127.0.0.1:9000", "ftp://h", "http://h/x", "http://u:p@h", "http://h?x"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}

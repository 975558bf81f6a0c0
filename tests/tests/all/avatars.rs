//! Pictures of Cores: taken by their first bytes, shown to everybody, gone with their Core.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scaigrid_tests::{Answer, CORES, Client, Db, Place, eventually, on_both_databases, programs};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

on_both_databases!(
    a_picture_is_taken_and_shown_to_everybody,
    of_two_at_once_one_is_shown_and_recorded,
    what_is_no_picture_is_refused,
    a_core_is_made_with_its_picture,
    a_picture_goes_with_its_core,
    a_store_that_is_away_is_told,
    a_published_core_is_shown_with_its_picture,
);

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";
const SVG: &[u8] = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><script>alert(2)</script></svg>";

fn path(core: &str) -> String {
    format!("{CORES}/{core}/avatar")
}

/// A form with a file of a media type, or of none.
fn upload(client: &Client, core: &str, media_type: Option<&str>, file: &[u8]) -> Answer {
    let kind = media_type.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
    let mut body =
        format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n{kind}\r\n")
            .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--b--\r\n");
    client.post(&path(core)).body("multipart/form-data; boundary=b", body).exchange()
}

fn etag(bytes: &[u8]) -> String {
    let hex: String =
        Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("\"{hex}\"")
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn a_picture_is_taken_and_shown_to_everybody(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let made = admin.post(CORES).json(&json!({"name": "Pictured"})).answer(201).data();
    assert_eq!(made["avatar_url"], Value::Null);
    let core = made["id"].as_str().unwrap();
    anyone.get(&path(core)).refused(404, "NO_AVATAR");
    anyone.get(&path("core_01J00000000000000000000000")).refused(404, "NO_AVATAR");
    let pictures: [(&str, &[u8]); 5] = [
        ("image/png", PNG),
        ("image/jpeg", b"\xff\xd8\xff\xe0 JFIF"),
        ("image/gif", b"GIF89a..."),
        ("image/webp", b"RIFF\x20\0\0\0WEBPVP8 "),
        ("image/svg+xml", SVG),
    ];
    for (kind, bytes) in pictures {
        let shown = upload(&admin, core, Some(kind), bytes);
        assert_eq!(shown.status, 200, "{shown}");
        assert_eq!(shown.data()["avatar_url"], json!(path(core)));
        let got = anyone.get(&path(core)).answer(200);
        assert_eq!(got.body, bytes);
        let header = |name: &str| got.header(name).unwrap_or_default().to_owned();
        assert_eq!((header("content-type"), header("etag")), (kind.to_owned(), etag(bytes)));
        assert_eq!(header("cache-control"), "public, max-age=3600");
        assert_eq!(header("x-content-type-options"), "nosniff");
        // Nothing in it runs, whatever it is.
        let csp = header("content-security-policy");
        assert!(csp.contains("default-src 'none'") && csp.contains("sandbox"), "{csp}");
        assert!(!csp.contains("script-src") && !csp.contains("allow-scripts"), "{csp}");
        let known = anyone.get(&path(core)).header("If-None-Match", &etag(bytes)).answer(304);
        assert_eq!((known.body.len(), known.header("etag")), (0, Some(etag(bytes).as_str())));
        let among = format!("\"x\", W/{}", etag(bytes));
        anyone.get(&path(core)).header("If-None-Match", &among).answer(304);
        anyone.get(&path(core)).header("If-None-Match", "\"x\"").answer(200);
    }
    assert_eq!(files(&place.data().join("objects").join("scaicore")), 1, "there is one key for each Core");
    // The last one once more is no news; the first of the records tells of the change.
    let before = admin.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
    assert_eq!(before[0]["changes"]["avatar"]["after"]["content_type"], "image/svg+xml", "{}", before[0]);
    upload(&admin, core, None, SVG);
    assert_eq!(admin.pages(&format!("/v1/audit/events?resource_id={core}"), "items").len(), before.len());
    // It is there after a restart.
    server.stop();
    let server = place.start();
    assert_eq!(server.anyone().get(&path(core)).answer(200).body, SVG);
    server.stop();
}

fn of_two_at_once_one_is_shown_and_recorded(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Pictured", &programs::echo(1));
    for round in 0..8 {
        std::thread::scope(|threads| {
            for uploader in 0..3 {
                let (admin, core) = (&admin, &core);
                threads.spawn(move || {
                    let picture = [PNG, format!(" {round} of {uploader}").as_bytes()].concat();
                    assert_eq!(upload(admin, core, None, &picture).status, 200);
                });
            }
        });
        let shown = server.anyone().get(&path(&core)).answer(200);
        let records = admin.pages(&format!("/v1/audit/events?resource_id={core}"), "items");
        let recorded = records[0]["changes"]["avatar"]["after"]["sha256"].as_str().unwrap();
        assert_eq!(shown.header("etag"), Some(format!("\"{recorded}\"").as_str()), "{}", records[0]);
    }
    server.stop();
}

fn what_is_no_picture_is_refused(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Plain", &json!({}));
    let refused = |kind: Option<&str>, bytes: &[u8]| {
        let answer = upload(&admin, &core, kind, bytes);
        (answer.status, answer.code())
    };
    let more = admin.post(&path(&core)).form(PNG, &[("title", "A picture")]);
    assert_eq!(more.refused(422, "VALIDATION_ERROR").fields(), ["title"]);
    let no = |code: &str| (400, code.to_owned());
    let bad: [(Option<&str>, &[u8]); 8] = [
        (Some("image/png"), b"<html></html>"),
        (Some("image/png"), b"GIF89a"),
        (Some("image/svg+xml"), PNG),
        (Some("text/html"), PNG),
        (Some("image/bmp"), b"BM"),
        (None, b"MZ"),
        (None, b""),
        (None, b"<!DOCTYPE svg [<!ENTITY a 'a'>]><svg>&a;</svg>"),
    ];
    for (kind, bytes) in bad {
        assert_eq!(refused(kind, bytes), no("INVALID_FILE_TYPE"), "{kind:?} {bytes:?}");
    }
    let mut large = PNG.to_vec();
    large.resize(2 * 1024 * 1024 + 1, 0);
    assert_eq!(refused(Some("image/png"), &large), no("FILE_TOO_LARGE"));
    large.truncate(2 * 1024 * 1024);
    assert_eq!(upload(&admin, &core, Some("image/png"), &large).status, 200);
    assert_eq!(server.anyone().get(&path(&core)).answer(200).body.len(), large.len());
    admin.post(&path(&core)).json(&json!({})).refused(415, "UNSUPPORTED_MEDIA_TYPE");
    let there = admin.in_tenant(&admin.tenant("there"));
    assert_eq!(upload(&there, &core, None, PNG).code(), "CORE_NOT_FOUND");
    let (_, key) = admin.user("viewer@example.org", &["tenant_viewer"]);
    assert_eq!(upload(&server.client(&key), &core, None, PNG).status, 403);
    server.stop();
}

fn a_core_is_made_with_its_picture(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let b64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let new = |name: &str, bytes: &[u8]| json!({"name": name, "avatar_b64": b64(bytes), "avatar_content_type": "image/png"});
    let made = admin.post(CORES).json(&new("One", PNG)).answer(201).data();
    let core = made["id"].as_str().unwrap();
    assert_eq!(made["avatar_url"], json!(path(core)));
    assert_eq!(anyone.get(&path(core)).answer(200).body, PNG);
    // Nothing is made with what is no picture.
    admin.post(CORES).json(&new("Two", SVG)).refused(400, "INVALID_FILE_TYPE");
    let refused =
        admin.post(CORES).json(&json!({"name": "Two", "avatar_b64": "?"})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["avatar_b64"]);
    let alone = json!({"name": "Two", "avatar_content_type": "image/png"});
    assert_eq!(
        admin.post(CORES).json(&alone).refused(422, "VALIDATION_ERROR").fields(),
        ["avatar_content_type"]
    );
    assert_eq!(admin.pages(CORES, "items").len(), 1);

    // A bundle with its picture is hosted in one call; a picture beside it counts more.
    let mut program = programs::echo(1);
    program["avatar"] = json!({"content_type": "image/svg+xml", "data_b64": b64(SVG)});
    let bundle = programs::bundle(&program);
    let made =
        admin.post(CORES).form(&bundle, &[("name", "Bundled"), ("runtime_mode", "api")]).answer(201).data();
    assert_eq!((&made["runtime_mode"], &made["source"]["name"]), (&json!("api"), &json!("Echo")));
    let got = anyone.get(&path(made["id"].as_str().unwrap())).answer(200);
    assert_eq!((got.body.as_slice(), got.header("content-type")), (SVG, Some("image/svg+xml")));
    let fields = [("name", "Beside"), ("avatar_b64", &b64(PNG)), ("avatar_content_type", "image/png")];
    let made = admin.post(CORES).form(&bundle, &fields).answer(201).data();
    assert_eq!(anyone.get(&path(made["id"].as_str().unwrap())).answer(200).body, PNG);
    // Any program is kept, and one whose picture is none has none.
    program["avatar"] = json!({"content_type": "image/png", "data_b64": b64(b"nothing")});
    let made = admin.post(CORES).json(&json!({"name": "Odd", "source": program})).answer(201).data();
    assert_eq!(made["avatar_url"], Value::Null);
    server.stop();
}

fn a_picture_goes_with_its_core(place: &Place) {
    let folder = place.data().join("objects").join("scaicore");
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.host("Short", &json!({}));
    assert_eq!(upload(&admin, &core, None, PNG).status, 200);
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    anyone.get(&path(&core)).refused(404, "NO_AVATAR");
    assert_eq!(files(&folder), 0);

    // What a node leaves behind that dies between the row and the object is swept.
    let core = admin.host("Left", &json!({}));
    assert_eq!(upload(&admin, &core, None, PNG).status, 200);
    let file = {
        let tenant = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        tenant.join(&core).join("avatar")
    };
    let kept = std::fs::read(&file).unwrap();
    admin.delete(&format!("{CORES}/{core}")).answer(204);
    server.stop();
    std::fs::write(&file, kept).unwrap();
    place.run_sql(match place.db() {
        Db::Sqlite => "UPDATE avatar_objects SET touched_at = touched_at - 172800000000",
        Db::Postgres => "UPDATE avatar_objects SET touched_at = touched_at - interval '2 days'",
    });
    let server = place.start();
    eventually("nothing is left", Duration::from_secs(30), || (files(&folder) == 0).then_some(()));
    server.stop();
}

fn a_published_core_is_shown_with_its_picture(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.host("Shown", &programs::echo(1));
    admin.post(&format!("{CORES}/{core}/publish")).answer(200);
    let picture = || {
        let models = admin.pages("/v1/models", "items");
        let shown = models.into_iter().find(|model| model["slug"] == "scaicore/default/shown").unwrap();
        shown["avatar_url"].clone()
    };
    assert_eq!(picture(), Value::Null);
    assert_eq!(upload(&admin, &core, None, PNG).status, 200);
    admin.post(&format!("{CORES}/{core}/sync")).answer(200);
    assert_eq!(picture(), json!(path(&core)));
    admin.post(&format!("{CORES}/{core}/unpublish")).answer(200);
    admin.post(&format!("{CORES}/{core}/publish")).answer(200);
    assert_eq!(picture(), json!(path(&core)));
    server.stop();
}

fn a_store_that_is_away_is_told(place: &Place) {
    let folder = place.data().join("objects");
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let core = admin.host("Pictured", &json!({}));
    assert_eq!(upload(&admin, &core, None, PNG).status, 200);
    let aside = place.folder().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    place.allow_in_log("a picture is missing from the object store");
    let refused = upload(&admin, &core, None, SVG);
    assert_eq!((refused.status, refused.code()), (502, "STORAGE_ERROR".to_owned()), "{refused}");
    anyone.get(&path(&core)).refused(502, "STORAGE_ERROR");
    let new = json!({"name": "Another", "avatar_b64": STANDARD.encode(PNG)});
    admin.post(CORES).json(&new).refused(502, "STORAGE_ERROR");
    assert_eq!(admin.pages(CORES, "items").len(), 1, "nothing was made");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(anyone.get(&path(&core)).answer(200).body, PNG, "what was refused has changed nothing");
    admin.post(CORES).json(&new).answer(201);
    server.stop();
}

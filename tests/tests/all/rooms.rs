//! Rooms: who is in them, who may change them, and whom a message means.

use scaigrid_tests::{Client, Place, Server, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    a_room_is_made_listed_and_changed,
    a_room_is_there_for_its_members_alone,
    who_is_in_a_room_is_changed_by_those_with_power,
    the_last_who_governs_stays,
    an_archived_room_is_read_only,
    a_tenant_has_as_many_rooms_as_it_may,
    mentions_mean_who_is_there,
    changes_of_rooms_are_audited,
);

const ROOMS: &str = "/v1/rooms";

/// A tenant with an admin and two users, whose local ids are `boss`, `ada` and `bob`.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) tenant: String,
    pub(crate) boss: Client,
    pub(crate) ada: Client,
    pub(crate) bob: Client,
}

pub(crate) fn house(place: &Place) -> House {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    let of = |name: &str, role: &str| {
        let email = format!("{name}@acme.example");
        server.client(&root.in_tenant(&tenant).user(&email, &[role]).1)
    };
    let (boss, ada, bob) = (of("boss", "tenant_admin"), of("ada", "tenant_user"), of("bob", "tenant_user"));
    House { server, tenant, boss, ada, bob }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A new room; its path.
pub(crate) fn room(client: &Client, participants: &[&str]) -> String {
    let body = json!({"name": "Room", "participants": participants});
    format!("{ROOMS}/{}", text(&client.post(ROOMS).json(&body).answer(201).data()["id"]))
}

pub(crate) fn say(client: &Client, room: &str, what: &str) -> Value {
    client.post(&format!("{room}/messages")).json(&json!({"text": what})).answer(201).data()
}

fn members(client: &Client, room: &str) -> Vec<Value> {
    client.pages(&format!("{room}/participants"), "items")
}

/// The id of a member by their local id.
pub(crate) fn member(client: &Client, room: &str, local_id: &str) -> String {
    let all = members(client, room);
    let found = all.iter().find(|member| member["participant"]["local_id"] == local_id);
    text(&found.unwrap_or_else(|| panic!("no {local_id} in {all:?}"))["participant_id"])
}

fn power(client: &Client, room: &str, local_id: &str) -> u64 {
    let all = members(client, room);
    all.iter().find(|member| member["participant"]["local_id"] == local_id).unwrap()["power"]
        .as_u64()
        .unwrap()
}

fn a_room_is_made_listed_and_changed(place: &Place) {
    let House { server, tenant, ada, bob, .. } = house(place);
    let made = ada.post(ROOMS).json(&json!({"name": "First", "participants": ["bob"]})).answer(201);
    let first = made.data();
    let path = format!("{ROOMS}/{}", text(&first["id"]));
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!((&first["name"], &first["status"]), (&json!("First"), &json!("open")));
    assert_eq!(first["tenant_id"], json!(tenant));
    assert_eq!(ada.get(&path).answer(200).data(), first);
    for name in ["Second", "Third", "Fourth"] {
        ada.post(ROOMS).json(&json!({"name": name})).answer(201);
    }
    let page = ada.get(&format!("{ROOMS}?limit=3")).answer(200).json();
    let names = |page: &Value| -> Vec<String> {
        page["data"]["items"].as_array().unwrap().iter().map(|room| text(&room["name"])).collect()
    };
    assert_eq!(
        (names(&page), &page["pagination"]["has_more"]),
        (vec!["Fourth".to_owned(), "Third".into(), "Second".into()], &json!(true))
    );
    let cursor = text(&page["pagination"]["next_cursor"]);
    let rest = ada.get(&format!("{ROOMS}?limit=3&cursor={cursor}")).answer(200).json();
    assert_eq!((names(&rest), &rest["pagination"]["has_more"]), (vec!["First".to_owned()], &json!(false)));
    assert_eq!(bob.pages(ROOMS, "items"), std::slice::from_ref(&first), "bob is in the first one only");

    let tag = made.header("etag").unwrap().to_owned();
    ada.get(&path).header("If-None-Match", &tag).answer(304);
    let change = json!({"name": "Renamed"});
    let changed = ada.put(&path, &change).header("If-Match", &tag).answer(200);
    assert_eq!((&changed.data()["name"], &changed.data()["status"]), (&json!("Renamed"), &json!("open")));
    ada.put(&path, &change).header("If-Match", &tag).refused(412, "PRECONDITION_FAILED");
    ada.put(&path, &json!({"status": "archived"})).answer(200);
    let listed = |status: &str| ada.pages(&format!("{ROOMS}?status={status}"), "items").len();
    assert_eq!((listed("open"), listed("archived")), (3, 1));
    ada.get(&format!("{ROOMS}?status=closed")).refused(422, "VALIDATION_ERROR");

    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"name": "x", "topic": "y"}), "topic"),
        (json!({"name": "x", "participants": ["bob", "nobody"]}), "participants[1]"),
        (json!({"name": "x", "participants": ["No Name"]}), "participants[0]"),
        (json!({"name": "x", "participants": vec!["bob"; 101]}), "participants"),
    ] {
        let refused = ada.post(ROOMS).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    assert_eq!(
        ada.put(&path, &json!({"status": "gone"})).refused(422, "VALIDATION_ERROR").fields(),
        ["status"]
    );
    server.stop();
}

fn a_room_is_there_for_its_members_alone(place: &Place) {
    let House { server, tenant, boss, ada, bob } = house(place);
    let path = room(&ada, &[]);
    say(&ada, &path, "Secret");
    let root = server.admin();
    let there = root.tenant("other");
    let (_, stranger) = root.in_tenant(&there).user("eve@other.example", &["tenant_admin"]);
    let inside = root.in_tenant(&tenant);
    let ada_id = member(&ada, &path, "ada");
    for client in [&bob, &boss, &server.client(&stranger), &inside] {
        for request in [
            client.get(&path),
            client.put(&path, &json!({"name": "Mine"})),
            client.get(&format!("{path}/participants")),
            client.put(&format!("{path}/participants/{ada_id}"), &json!({"power": 0})),
            client.delete(&format!("{path}/participants/{ada_id}")),
            client.post(&format!("{path}/ai/engage")).json(&json!({"participant_id": "x"})),
            client.get(&format!("{path}/messages")),
            client.post(&format!("{path}/messages")).json(&json!({"text": "Hello"})),
            client.get(&format!("{path}/stream")),
        ] {
            request.refused(404, "ROOM_NOT_FOUND");
        }
        assert!(client.pages(ROOMS, "items").is_empty());
    }
    // Who acts in a tenant that is not their own is no participant there.
    inside.post(ROOMS).json(&json!({"name": "Mine"})).refused(404, "PARTICIPANT_NOT_FOUND");
    assert_eq!(ada.pages(&format!("{path}/messages"), "items").len(), 1);
    server.stop();
}

fn who_is_in_a_room_is_changed_by_those_with_power(place: &Place) {
    let House { server, boss, ada, bob, .. } = house(place);
    let path = room(&ada, &["bob"]);
    let (ada_id, bob_id) = (member(&ada, &path, "ada"), member(&ada, &path, "bob"));
    let of = |id: &str| format!("{path}/participants/{id}");
    assert_eq!((power(&ada, &path, "ada"), power(&ada, &path, "bob")), (100, 0));
    // Without power: nothing but talking, and going.
    bob.put(&path, &json!({"name": "Mine"})).refused(403, "ROOM_FORBIDDEN");
    bob.put(&of(&bob_id), &json!({"power": 50})).refused(403, "ROOM_FORBIDDEN");
    bob.delete(&of(&ada_id)).refused(403, "ROOM_FORBIDDEN");
    say(&bob, &path, "Hello");

    let put = ada.put(&of(&bob_id), &json!({"power": 50})).answer(200).data();
    assert_eq!((&put["power"], &put["engagement"]), (&json!(50), &json!("none")));
    assert_eq!(put["participant"]["participant_type"], "human");
    bob.put(&path, &json!({"name": "Ours"})).answer(200);
    // Nobody gives or takes more than they have.
    bob.put(&of(&ada_id), &json!({"power": 0})).refused(403, "ROOM_FORBIDDEN");
    bob.put(&of(&bob_id), &json!({"power": 51})).refused(403, "ROOM_FORBIDDEN");
    bob.delete(&of(&ada_id)).refused(403, "ROOM_FORBIDDEN");
    // Somebody else comes, whom bob may take out again; what they said stays.
    let boss_id = member(&ada, &room(&ada, &["boss"]), "boss");
    boss.get(&path).refused(404, "ROOM_NOT_FOUND");
    assert_eq!(bob.put(&of(&boss_id), &json!({})).answer(200).data()["power"], 0);
    say(&boss, &path, "I am here");
    bob.delete(&of(&boss_id)).answer(204);
    bob.delete(&of(&boss_id)).refused(404, "PARTICIPANT_NOT_FOUND");
    boss.get(&path).refused(404, "ROOM_NOT_FOUND");
    assert_eq!(bob.pages(&format!("{path}/messages"), "items")[0]["author"]["local_id"], "boss");

    // The room's tag guards who is in it, too.
    let tag = ada.get(&path).answer(200).header("etag").unwrap().to_owned();
    let done = ada.put(&of(&bob_id), &json!({"power": 60})).header("If-Match", &tag).answer(200);
    assert_ne!(done.header("etag"), Some(tag.as_str()));
    let stale = ada.put(&of(&bob_id), &json!({"power": 70})).header("If-Match", &tag);
    stale.refused(412, "PRECONDITION_FAILED");
    ada.delete(&of(&bob_id)).header("If-Match", &tag).refused(412, "PRECONDITION_FAILED");

    for (body, field) in [
        (json!({"power": 101}), "power"),
        (json!({"power": -1}), "power"),
        (json!({"engagement": "always"}), "engagement"),
        (json!({"engagement": "sometimes"}), "engagement"),
        (json!({"role": "owner"}), "role"),
    ] {
        let refused = ada.put(&of(&bob_id), &body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    for nobody in ["par_01J00000000000000000000000", "bob"] {
        ada.put(&of(nobody), &json!({})).refused(404, "PARTICIPANT_NOT_FOUND");
    }
    assert_eq!(power(&ada, &path, "bob"), 60);
    server.stop();
}

fn the_last_who_governs_stays(place: &Place) {
    let House { server, tenant, boss, ada, bob } = house(place);
    let path = room(&ada, &["bob", "boss"]);
    let (ada_id, bob_id) = (member(&ada, &path, "ada"), member(&ada, &path, "bob"));
    let of = |id: &str| format!("{path}/participants/{id}");
    ada.delete(&of(&ada_id)).refused(409, "CONFLICT");
    ada.put(&of(&ada_id), &json!({"power": 49})).refused(409, "CONFLICT");
    ada.put(&of(&bob_id), &json!({"power": 50})).answer(200);
    // Of two that go at once one stays.
    let gone = std::thread::scope(|scope| {
        let going = [(&ada, &ada_id), (&bob, &bob_id)];
        let going = going.map(|(who, id)| scope.spawn(move || who.delete(&of(id)).exchange().status));
        going.map(|one| one.join().unwrap())
    });
    let mut sorted = gone;
    sorted.sort_unstable();
    assert_eq!(sorted, [204, 409], "{gone:?}");
    // Nor is a room left that nobody sees.
    let alone = room(&ada, &[]);
    ada.delete(&format!("{alone}/participants/{}", member(&ada, &alone, "ada"))).refused(409, "CONFLICT");

    // Where the only one who governs is a user no more, those who are left do.
    let path = room(&boss, &["ada", "bob"]);
    let users = boss.pages("/v1/users", "items");
    ada.put(&path, &json!({"name": "Ours"})).refused(403, "ROOM_FORBIDDEN");
    let gone = users.iter().find(|user| user["email"] == "boss@acme.example").unwrap();
    server.admin().in_tenant(&tenant).delete(&format!("/v1/users/{}", text(&gone["id"]))).answer(204);
    ada.put(&path, &json!({"name": "Ours"})).answer(200);
    server.stop();
}

fn an_archived_room_is_read_only(place: &Place) {
    let House { server, ada, .. } = house(place);
    let path = room(&ada, &[]);
    say(&ada, &path, "One");
    ada.put(&path, &json!({"status": "archived"})).answer(200);
    let again = ada.post(&format!("{path}/messages")).json(&json!({"text": "Two"}));
    again.refused(409, "ROOM_ARCHIVED");
    assert_eq!(ada.pages(&format!("{path}/messages"), "items").len(), 1);
    ada.put(&path, &json!({"status": "open"})).answer(200);
    assert_eq!(again.answer(201).data()["seq"], 2);
    server.stop();
}

fn a_tenant_has_as_many_rooms_as_it_may(place: &Place) {
    let House { server, tenant, ada, .. } = house(place);
    let path = room(&ada, &[]);
    // An archived one is counted.
    ada.put(&path, &json!({"status": "archived"})).answer(200);
    let limits = json!({"limits": {"max_rooms": 4}});
    server.admin().put(&format!("/v1/admin/tenants/{tenant}"), &limits).answer(200);
    let mut statuses = std::thread::scope(|scope| {
        let asked = [0; 8].map(|_| {
            scope.spawn(|| {
                let answer = ada.post(ROOMS).json(&json!({"name": "One of many"})).exchange();
                if answer.status == 409 {
                    assert_eq!(answer.code(), "TENANT_CAPACITY");
                }
                answer.status
            })
        });
        asked.map(|one| one.join().unwrap())
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 409, 409, 409, 409, 409]);
    assert_eq!(ada.pages(ROOMS, "items").len(), 4);
    server.stop();
}

fn mentions_mean_who_is_there(place: &Place) {
    let House { server, boss, ada, .. } = house(place);
    let ai = json!({"local_id": "code-helper", "model": "echo", "display_name": "Code Helper"});
    let ai = text(&boss.post("/v1/admin/participants/model").json(&ai).answer(201).data()["id"]);
    let path = room(&ada, &["bob"]);
    let messages = format!("{path}/messages");
    let bob_id = member(&ada, &path, "bob");
    // Boss is not in the room, and what looks like an address is none.
    let said = say(&ada, &path, "Hello @Bob, not @boss, nor me@bob.example; (@bob!)");
    assert_eq!(said["mentions"], json!([bob_id]));
    for (named, field) in [("boss", "mentions[1]"), ("nobody", "mentions[1]")] {
        let body = json!({"text": "Hello", "mentions": ["bob", named]});
        let refused = ada.post(&messages).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    let many = json!({"text": "Hello", "mentions": vec!["bob"; 51]});
    assert_eq!(ada.post(&messages).json(&many).refused(422, "VALIDATION_ERROR").fields(), ["mentions"]);
    // An AI that is mentioned takes part from then on, for what mentions it.
    assert_eq!(members(&ada, &path).len(), 2);
    let body = json!({"text": "Hello", "mentions": [bob_id, "code-helper", "@bob"]});
    assert_eq!(ada.post(&messages).json(&body).answer(201).data()["mentions"], json!([bob_id, ai]));
    let helper =
        members(&ada, &path).into_iter().find(|member| member["participant_id"] == json!(ai)).unwrap();
    assert_eq!((&helper["engagement"], &helper["power"]), (&json!("mention"), &json!(0)));
    assert_eq!(helper["participant"]["participant_type"], "model");

    // Everybody in the room may have it answer whatever is said; but a person does not answer by themselves.
    let engage = format!("{path}/ai/engage");
    let engaged = ada.post(&engage).json(&json!({"participant_id": ai})).answer(200).data();
    assert_eq!(engaged["engagement"], "always");
    let by_name = json!({"participant_id": "code-helper", "mode": "mention"});
    assert_eq!(ada.post(&engage).json(&by_name).answer(200).data()["engagement"], "mention");
    for (body, field) in [
        (json!({"participant_id": "bob"}), "participant_id"),
        (json!({"participant_id": "nobody"}), "participant_id"),
        (json!({"participant_id": ai, "mode": "none"}), "mode"),
        (json!({"participant_id": ai, "mode": "keyword"}), "mode"),
        (json!({"participant_id": ai, "since": 1}), "since"),
    ] {
        let refused = ada.post(&engage).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    let of_ai = format!("{path}/participants/{ai}");
    assert_eq!(ada.put(&of_ai, &json!({"power": 1})).refused(422, "VALIDATION_ERROR").fields(), ["power"]);
    let never = ada.put(&of_ai, &json!({"engagement": "none"}));
    assert_eq!(never.refused(422, "VALIDATION_ERROR").fields(), ["engagement"]);
    ada.delete(&of_ai).answer(204);
    assert_eq!(members(&ada, &path).len(), 2);
    server.stop();
}

fn changes_of_rooms_are_audited(place: &Place) {
    let House { server, boss, ada, .. } = house(place);
    let path = room(&ada, &["bob"]);
    let id = path.rsplit('/').next().unwrap().to_owned();
    let bob_id = member(&ada, &path, "bob");
    let of_bob = format!("{path}/participants/{bob_id}");
    // Each of these twice: what changes nothing leaves no record.
    for _ in 0..2 {
        ada.put(&path, &json!({"name": "Renamed"})).answer(200);
        ada.put(&of_bob, &json!({"power": 10})).answer(200);
    }
    ada.delete(&of_bob).answer(204);
    say(&ada, &path, "This is nobody else's affair");
    ada.put(&path, &json!({"power": 1})).answer(422);
    let log = boss.pages(&format!("/v1/audit/events?resource_id={id}"), "items");
    let actions: Vec<&str> = log.iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["room.update", "room.update", "room.update", "room.create"], "newest first");
    let member = format!("participants.{bob_id}");
    assert_eq!(log[0]["changes"][&member]["after"], Value::Null);
    assert_eq!(log[1]["changes"][&member]["after"], json!({"power": 10, "engagement": "none"}));
    assert_eq!(log[1]["changes"][&member]["before"], json!({"power": 0, "engagement": "none"}));
    assert_eq!(log[2]["changes"]["name"], json!({"before": "Room", "after": "Renamed"}));
    assert_eq!(log[3]["changes"]["status"]["after"], "open");
    assert!(!json!(log).to_string().contains("nobody else's affair"), "what is said is no audit record");
    server.stop();
}

//! Partners: kept as they are, found, listed in pages, changed only in the expected revision.

use scaigrid_persistence::partners::{self, PartnerFilter};
use scaigrid_persistence::{Error, Written};
use scaigrid_scope::{Instant, Name, Partner, PartnerChanges, PartnerLimits, PartnerStatus, Slug};

use crate::home::Home;
use crate::values::{SYSTEM, at, email, name, of_partner, partner, slug};

crate::on_both_databases! {
    a_partner_is_kept_as_it_is,
    partners_are_listed_newest_first_in_pages,
    a_slug_is_taken_once,
    a_change_needs_the_expected_revision,
    a_lock_gives_the_partner_and_changes_nothing,
}

async fn add(home: &Home, partner: &Partner) -> Result<(), Error> {
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), partner).await?;
    tx.commit().await
}

async fn a_partner_is_kept_as_it_is(home: &Home) {
    let plain = partner(1);
    // The longest texts and the farthest instants that the domain allows.
    let extreme = Partner {
        slug: slug(&"a".repeat(Slug::MAX_CHARS)),
        name: name(&"\u{1F3DB}".repeat(Name::MAX_CHARS)),
        contact_email: None,
        status: PartnerStatus::Suspended,
        limits: PartnerLimits { max_tenants: Some(u32::MAX), max_users_per_tenant: Some(0) },
        created_at: Instant::MIN,
        updated_at: Instant::MAX,
        ..partner(2)
    };
    for partner in [&plain, &extreme] {
        add(home, partner).await.unwrap();
        let scope = SYSTEM.partner(partner.id);
        let mut c = home.read().await;
        assert_eq!(partners::lookup(&mut c, scope).await.unwrap().as_ref(), Some(partner));
        let found = partners::find_by_slug(&mut c, SYSTEM.platform(), &partner.slug).await.unwrap();
        assert_eq!(found.as_ref(), Some(partner));
    }
    let mut c = home.read().await;
    assert_eq!(partners::lookup(&mut c, of_partner(3)).await.unwrap(), None);
    let unknown = slug("nobody");
    assert_eq!(partners::find_by_slug(&mut c, SYSTEM.platform(), &unknown).await.unwrap(), None);
}

async fn partners_are_listed_newest_first_in_pages(home: &Home) {
    for number in 1..=5 {
        let status = if number == 3 { PartnerStatus::Suspended } else { PartnerStatus::Active };
        add(home, &Partner { status, ..partner(number) }).await.unwrap();
    }
    let mut c = home.read().await;
    let active = PartnerFilter { status: Some(PartnerStatus::Active) };
    let platform = SYSTEM.platform();
    let first = partners::list(&mut c, platform, &active, None, 3).await.unwrap();
    assert_eq!(first.iter().map(|partner| partner.id).collect::<Vec<_>>(), [5, 4, 2].map(|n| partner(n).id));
    let rest = partners::list(&mut c, platform, &active, Some(first[2].id), 3).await.unwrap();
    assert_eq!(rest.iter().map(|partner| partner.id).collect::<Vec<_>>(), [partner(1).id]);
    assert_eq!(partners::count(&mut c, platform, &active).await.unwrap(), 4);
    assert_eq!(partners::count(&mut c, platform, &PartnerFilter::default()).await.unwrap(), 5);
}

async fn a_slug_is_taken_once(home: &Home) {
    add(home, &partner(1)).await.unwrap();
    let again = Partner { slug: partner(1).slug, ..partner(2) };
    assert!(matches!(add(home, &again).await, Err(Error::Duplicate(_))));
    assert!(matches!(add(home, &partner(1)).await, Err(Error::Duplicate(_))));
    add(home, &partner(2)).await.unwrap();
}

async fn a_change_needs_the_expected_revision(home: &Home) {
    add(home, &partner(1)).await.unwrap();
    let scope = of_partner(1);
    let rename = PartnerChanges { name: Some(name("Umbenannt ✓")), ..PartnerChanges::default() };
    let rest = PartnerChanges {
        name: None,
        contact_email: Some(Some(email("new@partner.example"))),
        status: Some(PartnerStatus::Suspended),
        limits: Some(PartnerLimits::default()),
    };
    let silence = PartnerChanges { contact_email: Some(None), ..PartnerChanges::default() };

    let mut tx = home.begin().await;
    let stale = partners::update(&mut tx, scope, Some(2), &rename, at(1)).await.unwrap();
    assert_eq!(stale, Written::Stale);
    assert_eq!(
        partners::update(&mut tx, of_partner(2), Some(1), &rename, at(1)).await.unwrap(),
        Written::Missing
    );
    assert_eq!(
        partners::update(&mut tx, of_partner(2), None, &rename, at(1)).await.unwrap(),
        Written::Missing
    );
    assert_eq!(partners::lookup(&mut tx, scope).await.unwrap(), Some(partner(1)));
    assert_eq!(partners::update(&mut tx, scope, Some(1), &rename, at(1)).await.unwrap(), Written::Done);
    assert_eq!(partners::update(&mut tx, scope, None, &rest, at(2)).await.unwrap(), Written::Done);
    let changed = Partner {
        name: name("Umbenannt ✓"),
        contact_email: Some(email("new@partner.example")),
        status: PartnerStatus::Suspended,
        limits: PartnerLimits::default(),
        revision: 3,
        updated_at: at(2),
        ..partner(1)
    };
    assert_eq!(partners::lookup(&mut tx, scope).await.unwrap().as_ref(), Some(&changed));
    assert_eq!(partners::update(&mut tx, scope, Some(3), &silence, at(3)).await.unwrap(), Written::Done);
    tx.commit().await.unwrap();
    let silent = Partner { contact_email: None, revision: 4, updated_at: at(3), ..changed };
    assert_eq!(partners::lookup(&mut home.read().await, scope).await.unwrap(), Some(silent));
}

async fn a_lock_gives_the_partner_and_changes_nothing(home: &Home) {
    add(home, &partner(1)).await.unwrap();
    let mut tx = home.begin().await;
    assert_eq!(partners::lock(&mut tx, of_partner(1)).await.unwrap(), Some(partner(1)));
    assert_eq!(partners::lock(&mut tx, of_partner(2)).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(partners::lookup(&mut home.read().await, of_partner(1)).await.unwrap(), Some(partner(1)));
}

//! The layers of the house, which crate belongs to which, and who may depend on whom.
//!
//! Dependencies go down: edge → application → adapters → domain. A new crate gets its line here and in
//! docs/architecture.md before anything can use it.

use std::path::Path;

/// A layer of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Pure: no I/O, no async runtime, no SQL, no HTTP types.
    Domain,
    /// One outside world each.
    Adapter,
    /// Use cases, and the engine that drives executions.
    Application,
    /// What clients see.
    Edge,
    /// Composition only.
    Binary,
    /// Development tasks; builds in seconds because it links nothing of the house.
    Tool,
    /// Tests that know only the binary and HTTP.
    BlackBox,
}

/// A crate's place.
struct Place {
    /// Its folder below the workspace.
    folder: &'static str,
    layer: Layer,
    /// The crates of its own layer that it may depend on.
    beside: &'static [&'static str],
}

const fn place(folder: &'static str, layer: Layer, beside: &'static [&'static str]) -> Place {
    Place { folder, layer, beside }
}

/// Every crate that the house has or has room for.
const PLACES: &[Place] = &[
    place("crates/scope", Layer::Domain, &[]),
    place("crates/audit", Layer::Domain, &["crates/scope"]),
    place("crates/modules", Layer::Domain, &["crates/scope"]),
    place("crates/catalog", Layer::Domain, &["crates/scope"]),
    place("crates/ir", Layer::Domain, &[]),
    place("crates/runtime", Layer::Domain, &["crates/ir"]),
    // What an incoming webhook must carry is said by the room that signs outgoing ones, what a limit may be by the one that reads it.
    place("crates/cores", Layer::Domain, &["crates/scope", "crates/catalog", "crates/ir", "crates/webhooks"]),
    place("crates/checkpoints", Layer::Domain, &["crates/scope"]),
    place("crates/delegation", Layer::Domain, &["crates/scope"]),
    place("crates/workspace", Layer::Domain, &["crates/scope", "crates/catalog"]),
    place("crates/webhooks", Layer::Domain, &["crates/scope", "crates/audit"]),
    place("crates/persistence", Layer::Adapter, &[]),
    place("crates/storage", Layer::Adapter, &[]),
    place("crates/bus", Layer::Adapter, &[]),
    place("crates/oidc", Layer::Adapter, &[]),
    place("crates/outbound", Layer::Adapter, &[]),
    place("crates/telemetry", Layer::Adapter, &[]),
    place("crates/engine", Layer::Application, &[]),
    place("crates/app", Layer::Application, &["crates/engine"]),
    place("crates/http-macros", Layer::Edge, &[]),
    place("crates/http", Layer::Edge, &["crates/http-macros"]),
    place("crates/console", Layer::Edge, &[]),
    place("xtask", Layer::Tool, &[]),
    place("tests", Layer::BlackBox, &[]),
];

/// Crates that the domain must not reach, however far away: each of them is a way to the outside world, to a
/// clock or to randomness. A `*` at the end stands for any ending.
pub(super) const OUTSIDE: &[&str] = &[
    "actix*",
    "async-std",
    "axum*",
    "deadpool*",
    "diesel*",
    "fastrand",
    "getrandom*",
    "hyper*",
    "libsqlite3-sys",
    "mio",
    "native-tls",
    "openssl*",
    "rand",
    "rand_chacha",
    "redis*",
    "reqwest*",
    "rusoto*",
    "rustls*",
    "signal-hook*",
    "smol",
    "socket2",
    "sqlx*",
    "tokio*",
    "tracing-subscriber",
    "ureq",
    "utoipa*",
];

/// The layer of the crate in a folder, if the house has room for it.
pub(super) fn layer(folder: &Path) -> Option<Layer> {
    if folder.parent() == Some(Path::new("bins")) {
        return Some(Layer::Binary);
    }
    find(folder).map(|place| place.layer)
}

/// Whether the crate in one folder may depend on that in another. `dev` dependencies, which only tests see, are held
/// to the direction of the layers but may go to any crate of the domain.
pub(super) fn allowed(from: &Path, to: &Path, dev: bool) -> bool {
    let (Some(above), Some(below)) = (layer(from), layer(to)) else { return false };
    let beside = || find(from).is_some_and(|place| place.beside.iter().any(|folder| Path::new(folder) == to));
    match (above, below) {
        (Layer::Domain, Layer::Domain) => dev || beside(),
        (Layer::Adapter, Layer::Domain)
        | (Layer::Application, Layer::Adapter | Layer::Domain)
        // The edge turns values of the domain into what is written on the wire; what is kept, and how, it must not know.
        | (Layer::Edge, Layer::Application | Layer::Domain)
        | (
            Layer::Binary,
            Layer::Edge | Layer::Application | Layer::Adapter | Layer::Domain | Layer::Binary,
        ) => true,
        (Layer::Application, Layer::Application) | (Layer::Edge, Layer::Edge) => beside(),
        _ => false,
    }
}

/// Whether the domain must not reach a package of this name.
pub(super) fn outside(package: &str) -> bool {
    OUTSIDE.iter().any(|name| match name.strip_suffix('*') {
        Some(beginning) => package.starts_with(beginning),
        None => package == *name,
    })
}

fn find(folder: &Path) -> Option<&'static Place> {
    PLACES.iter().find(|place| Path::new(place.folder) == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(from: &str, to: &str) -> bool {
        allowed(Path::new(from), Path::new(to), false)
    }

    #[test]
    fn dependencies_go_down() {
        assert!(may("crates/http", "crates/app"));
        assert!(may("crates/app", "crates/persistence"));
        assert!(may("crates/engine", "crates/runtime"));
        assert!(may("crates/persistence", "crates/cores"));
        assert!(may("bins/scaigrid-server", "crates/bus"));
        assert!(!may("crates/app", "crates/http"));
        assert!(!may("crates/persistence", "crates/engine"));
        assert!(!may("crates/cores", "crates/persistence"));
        assert!(!may("crates/http", "bins/scaigrid-server"));
    }

    #[test]
    fn the_edge_jumps_over_no_adapter_and_no_layer_is_a_web() {
        assert!(!may("crates/http", "crates/persistence"));
        assert!(!may("crates/http", "crates/bus"));
        assert!(may("crates/http", "crates/cores"));
        assert!(may("crates/http", "crates/http-macros"));
        assert!(!may("crates/http-macros", "crates/http"));
        assert!(!may("crates/bus", "crates/persistence"));
        assert!(may("crates/app", "crates/engine"));
        assert!(!may("crates/engine", "crates/app"));
        assert!(may("crates/cores", "crates/ir"));
        assert!(!may("crates/ir", "crates/cores"));
    }

    #[test]
    fn the_tool_and_the_black_box_link_nothing_of_the_house() {
        assert!(!may("xtask", "crates/ir"));
        assert!(!may("tests", "crates/http"));
    }

    #[test]
    fn tests_of_the_domain_may_look_sideways_but_not_up() {
        let dev = |from: &str, to: &str| allowed(Path::new(from), Path::new(to), true);
        assert!(dev("crates/checkpoints", "crates/ir"));
        assert!(!dev("crates/checkpoints", "crates/persistence"));
    }

    #[test]
    fn a_name_is_outside_by_its_beginning() {
        assert!(outside("tokio-postgres") && outside("rand") && outside("getrandom"));
        assert!(!outside("serde") && !outside("rand_core") && !outside("time"));
    }

    #[test]
    fn every_neighbour_has_a_place_of_the_same_layer() {
        for place in PLACES {
            for beside in place.beside {
                assert_eq!(layer(Path::new(beside)), Some(place.layer), "{}", place.folder);
            }
        }
    }
}

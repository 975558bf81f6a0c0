# The front door. The work is done by cargo and by `cargo xtask` (see xtask/).
.PHONY: run test check release bench docs prepare

# Builds the server and runs it on an embedded database under ./data. Settings: docs/operations.md.
run: prepare
	cargo run --package scaigrid-server -- serve

# Everything, on SQLite and PostgreSQL. Sets up what it needs and names what it skipped.
test: prepare
	cargo xtask test

# Formatting, lints, the layers of the house and the documents' links: what can be told without running anything.
check: prepare
	cargo xtask check

# The server as it is installed, in target/release.
release: prepare
	cargo xtask release

# The load generator against that server.
bench: prepare
	cargo xtask bench

# The Rust documentation, and docs/openapi.json from the routes.
docs: prepare
	cargo xtask docs

prepare:
	@sh xtask/prepare.sh $(MAKECMDGOALS)

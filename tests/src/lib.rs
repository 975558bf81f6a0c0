//! scaigrid-tests

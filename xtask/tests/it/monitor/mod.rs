//! `monitor` through the real program: servers that answer as told, certificates of our own, and a real cluster on which
//! what was released is broken.

mod certificate;
mod endpoints;
mod performance;
mod pods;
mod security;
mod server;
mod told;

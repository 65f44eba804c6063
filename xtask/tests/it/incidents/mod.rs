//! Incidents against a GitHub and a chat on loopback: what is told, when, to whom, and what is left alone.

mod killed;
mod many;
mod site;
mod story;
mod trouble;
mod workflow;

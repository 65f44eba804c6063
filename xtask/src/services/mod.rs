//! The backend with what it needs, running: its image or its source, a real Redis, an Ollama, and the faults between
//! them. Knows nothing of gates.

pub mod backend;
pub mod cluster;
pub mod control;
pub mod faults;
pub mod ground;
pub mod ollama;
pub mod serve;
pub mod stack;
pub mod stand_in;

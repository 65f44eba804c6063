//! The backend with what it needs, running: its image or its source, a real Redis, an Ollama, and the faults between
//! them. Knows nothing of gates.

pub mod backend;
pub mod ground;
pub mod http;
pub mod stack;

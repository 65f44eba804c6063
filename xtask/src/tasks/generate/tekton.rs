//! A Task of Tekton that runs the gates on a checkout. Pure.
//!
//! Fields are those of `Task` v1 (<https://tekton.dev/docs/pipelines/tasks/>).

use serde_json::{Value, json};

use crate::config::{Container, Tekton};

/// The task. Its image is the caller's: it needs Rust, git, a Python with pip, and Go.
pub fn task(container: &Container, tekton: &Tekton) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": format!("{}-ci", container.name)},
        "spec": {
            "description": "Runs every gate by `cargo xtask ci` on a checkout with its whole history.",
            "params": [
                {
                    "name": "image",
                    "type": "string",
                    "description": "An image by digest with Rust, git, a Python with pip, and Go",
                },
                {"name": "profile", "type": "string", "default": tekton.profile},
                {
                    "name": "options",
                    "type": "array",
                    "description": "More arguments of `cargo xtask ci`",
                    "default": tekton.options,
                },
            ],
            "workspaces": [
                {"name": "source", "description": "The checkout; reports go into its target/xtask/out"},
            ],
            "steps": [{
                "name": "ci",
                "image": "$(params.image)",
                "workingDir": "$(workspaces.source.path)",
                "env": [{"name": "CI", "value": "true"}],
                "command": ["cargo", "xtask", "ci"],
                "args": ["--profile", "$(params.profile)", "$(params.options[*])"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

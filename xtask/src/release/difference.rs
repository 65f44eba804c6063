//! How what runs differs from the objects of a release, by `kubectl diff`; Secrets are no part of it.

use serde_json::Value;

use crate::tools::kube::{Kube, MANAGER};
use crate::tools::proc::Exit;
use crate::verdict::{NotRun, Unproven};

/// What the API server counts up by itself.
const NOISE: &[&str] = &["generation:", "resourceVersion:", "uid:", "creationTimestamp:", "managedFields:"];

/// The lines that differ, each object's name before its own; nothing where nothing does.
pub async fn of(kube: &Kube, objects: &[Value]) -> Result<Vec<String>, Unproven> {
    // kubectl takes what begins with a brace for JSON to its end: several documents would have to be YAML.
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let manager = format!("--field-manager={MANAGER}");
    // A field that somebody else has taken is a difference and no error.
    let command = kube.kubectl(["diff", "--server-side", "--force-conflicts", &manager, "-f", "-"]);
    let ended = kube.runner().run(&command.stdin(list.to_string())).await?;
    let lines = shortened(&ended.stdout);
    match ended.exit {
        _ if ended.is_success() => Ok(lines),
        Exit::Code(1) if !ended.stdout.trim().is_empty() => Ok(lines),
        _ => {
            let fix = "see whether `kubectl` and `diff` are there and the login may read and dry-run these objects";
            Err(NotRun::new(format!("`kubectl diff` ended with {}", ended.failure()), fix).into())
        }
    }
}

/// What is added and removed, with the object's name before it.
fn shortened(diff: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let is_noise = |line: &str| NOISE.iter().any(|word| line.trim_start().starts_with(word));
    for line in diff.lines() {
        if let Some(rest) = line.strip_prefix("+++ ") {
            let path = rest.split_whitespace().next().unwrap_or_default();
            lines.push(path.rsplit('/').next().unwrap_or_default().to_owned());
        } else if !line.starts_with("---") && line.starts_with(['+', '-']) && !is_noise(&line[1..]) {
            lines.push(format!("  {line}"));
        }
    }
    // An object that differs by what the server counts alone does not differ.
    let is_name = |line: &String| !line.starts_with("  ");
    let mut kept: Vec<String> = Vec::new();
    for line in lines {
        if is_name(&line) && kept.last().is_some_and(is_name) {
            kept.pop();
        }
        kept.push(line);
    }
    if kept.last().is_some_and(is_name) {
        kept.pop();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_what_somebody_changed() {
        let of = |kind: &str, body: &str| {
            format!(
                "diff -u -N /tmp/LIVE-1/{kind} /tmp/MERGED-2/{kind}\n--- /tmp/LIVE-1/{kind}\t2026\n\
                 +++ /tmp/MERGED-2/{kind}\t2026\n@@ -5,7 +5,7 @@\n-  generation: 1\n+  generation: 2\n   same: x\n{body}"
            )
        };
        let deployment = of("apps.v1.Deployment.n.forge", "-        image: a\n+        image: b\n");
        let service = of("v1.Service.n.forge", "");
        let expected = ["apps.v1.Deployment.n.forge", "  -        image: a", "  +        image: b"];
        assert_eq!(shortened(&(deployment.clone() + &service)), expected);
        assert_eq!(shortened(&(service.clone() + &deployment)), expected);
        assert!(shortened(&service).is_empty() && shortened("").is_empty());
    }
}

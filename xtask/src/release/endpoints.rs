//! To which pods a Service leads, by its EndpointSlices. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// How it stands with a Service and the pods that it is to lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It leads to them alone.
    Settled,
    /// It leads to them alone by now; others that it led to are on their way out, and a node may not know yet.
    Moving,
    /// It leads to others as well, or to nobody.
    Mixed,
}

/// Whether the slices of a Service lead to `pods` alone. A proxy sends requests to endpoints that are ready, and where
/// there is none to those that serve while they end, <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>.
pub fn way(slices: &[Value], pods: &BTreeSet<String>) -> Way {
    let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    let (mut ours, mut others, mut ending) = (0, 0, 0);
    for endpoint in endpoints {
        let is = |name: &str| endpoint["conditions"][name].as_bool();
        let is_ready = is("ready").unwrap_or(true);
        let is_ours = endpoint["targetRef"]["name"].as_str().is_some_and(|name| pods.contains(name));
        match (is_ours, is_ready) {
            (true, true) => ours += 1,
            (false, true) => others += 1,
            (false, false) if is("serving") == Some(true) => ending += 1,
            _ => {}
        }
    }
    match (ours, others, ending) {
        (0, ..) => Way::Mixed,
        (_, 0, 0) => Way::Settled,
        (_, 0, _) => Way::Moving,
        _ => Way::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_leads_to_the_new_pods_alone_once_no_other_is_ready() {
        let pods = BTreeSet::from(["new-1".to_owned(), "new-2".to_owned()]);
        let endpoint = |pod: &str, ready: bool, serving: bool| json!({"targetRef": {"name": pod}, "conditions": {"ready": ready, "serving": serving}});
        for (endpoints, expected) in [
            (vec![endpoint("new-1", true, true)], Way::Settled),
            (vec![endpoint("new-1", true, true), endpoint("old-1", true, true)], Way::Mixed),
            (vec![endpoint("new-1", true, true), endpoint("old-1", false, true)], Way::Moving),
            // One that never got ready was never led to.
            (vec![endpoint("new-1", true, true), endpoint("old-1", false, false)], Way::Settled),
            (vec![endpoint("new-1", false, false)], Way::Mixed),
            (vec![], Way::Mixed),
            // What says nothing of itself counts as ready.
            (vec![endpoint("new-1", true, true), json!({"targetRef": {"name": "old-1"}})], Way::Mixed),
            (vec![endpoint("new-1", true, true), json!({"conditions": {"ready": true}})], Way::Mixed),
        ] {
            // The same in one slice and in several.
            let one = [json!({"endpoints": endpoints})];
            let several: Vec<Value> = endpoints.iter().map(|endpoint| json!({"endpoints": [endpoint]})).collect();
            assert_eq!((way(&one, &pods), way(&several, &pods)), (expected, expected), "{endpoints:?}");
        }
        assert_eq!(way(&[json!({"endpoints": null})], &pods), Way::Mixed);
    }
}
